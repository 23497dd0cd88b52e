"""Plays with an ssh provider: what it tells is kept, and what is left of its nodes is ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from agents import procfs
from agents.disk import read_holder
from agents.settings import PoolConfig
from agents.ssh_book import Book, Entry
from agents.ssh_hosts import HostConfig
from agents.ssh_provider import ConnectTo, SshProvider
from sdk.contract.orders import NodeOrder
from tests.agents.test_provider_contract import free_port


class Told:
    """What a provider told."""

    def __init__(self) -> None:
        self.exits: list[tuple[int, int | None, str]] = []
        self.answers: list[int] = []
        self.restarts: list[tuple[int, str, int]] = []


Act = Callable[[SshProvider, Told], Awaitable[None]]


class Stage:
    """A disk of a provisioner and a home on a host; each play is a provisioner that starts."""

    def __init__(self, folder: Path, hosts: list[HostConfig], connect: ConnectTo) -> None:
        self.folder = folder
        self.hosts = hosts
        self.connect = connect
        self.floor = free_port()
        # Nobody listens there: agents live without Kafka.
        self.config = PoolConfig("127.0.0.1:9", str(folder / "data"), "home", provider="ssh")

    def play(self, act: Act, *, restart_agents: bool = False) -> Told:
        """Run `act` with a fresh provider; what it told."""

        async def run() -> Told:
            config = msgspec.structs.replace(self.config, restart_agents=restart_agents)
            provider = SshProvider(config, self.hosts, self.connect)
            told = Told()
            provider.on_exit = lambda *it: told.exits.append(it)
            provider.on_answer = told.answers.append
            provider.on_restart = lambda *it: told.restarts.append(it)
            try:
                await act(provider, told)
            finally:
                await provider.close()
            return told

        return asyncio.run(run())

    def wish(self, order: int = 80) -> NodeOrder:
        """An order."""
        return NodeOrder(order, 4, self.floor)

    @property
    def path(self) -> Path:
        """The provisioner's book."""
        return self.folder / "data" / "pools" / "home" / "ssh.json"

    def book(self) -> dict[int, Entry]:
        """What stands in it."""
        return {it.order: it for it in msgspec.json.decode(self.path.read_bytes(), type=Book).nodes}

    def change_book(self, change: Callable[[Book], None]) -> None:
        """Write another one."""
        book = msgspec.json.decode(self.path.read_bytes(), type=Book)
        change(book)
        self.path.write_bytes(msgspec.json.encode(book))

    def caretakers(self) -> list[int]:
        """The caretakers of our hosts that live."""
        holders = [read_holder(it.parent) for it in self.folder.glob("**/pools/home/lock")]
        return [pid for pid, start in holders if procfs.is_alive(pid, start)]

    def close(self) -> None:
        """End what lives of all nodes, also of one whose agent has only just begun."""
        for pid in [*self.caretakers(), *self._agents()]:
            procfs.send_signal(pid, signal.SIGKILL)
        for lock in self.folder.glob("**/nodes/*/lock"):
            for pid in alive(lock.parent.name):
                procfs.send_signal(pid, signal.SIGKILL)

    def _agents(self) -> list[int]:
        """The agents that were told to live in our homes."""
        mark = f"{self.folder}/".encode()
        return [
            it.pid
            for it in procfs.list_processes()
            if not it.is_dead and it.pid != os.getpid() and mark in _command_of(it.pid)
        ]


def alive(node: str) -> list[int]:
    """The processes of a node that live: its agent, and what carries its mark."""
    agents = [
        it.pid
        for it in procfs.list_processes()
        if not it.is_dead and it.pid != os.getpid() and _is_agent(it.pid, node)
    ]
    return sorted({*agents, *procfs.select(lambda it: procfs.has_marks(it.pid, {"WATCHKEEP_NODE_ID": node}))})


def _is_agent(pid: int, node: str) -> bool:
    return f"/nodes/{node}/agent.json".encode() in _command_of(pid)


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
