"""What is particular to nodes as processes."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from agents import procfs
from agents.disk import DirectoryLock
from agents.process_provider import ProcessProvider
from agents.settings import PoolConfig
from agents.spawner import TemplateSpawner
from agents.state import Found
from sdk.contract.orders import NodeOrder
from tests.agents.test_provider_contract import free_port
from tests.agents.waiting import until

#: An agent that left half of itself in its group, and some of it outside.
SCRIPT = 'sleep 600 & setsid env WATCHKEEP_NODE_ID="$0" sleep 600 & wait'


class ScriptSpawner:
    """Starts a shell script in place of an agent."""

    async def spawn(self, config: Path, log_fd: int) -> int:
        """Start it."""
        node = config.parent.name
        process = subprocess.Popen(["sh", "-c", SCRIPT, node], stdout=log_fd, start_new_session=True)
        process.returncode = 0
        return process.pid

    async def reap(self, pid: int) -> int | None:
        """As the parent."""
        return procfs.reap(pid)

    def close(self) -> None:
        """Nothing to free."""


def make(folder: Path, exits: list[tuple[object, ...]]) -> ProcessProvider:
    """A provider of script nodes that tells its exits to a list."""
    provider = ProcessProvider(PoolConfig("127.0.0.1:9", str(folder), "home"), ScriptSpawner())
    provider.on_exit = lambda *exit_: exits.append(exit_)
    return provider


def processes_of(pid: int, node: str) -> list[int]:
    """All that lives of a node."""
    return procfs.select(
        lambda it: it.session == pid or procfs.has_marks(it.pid, {"WATCHKEEP_NODE_ID": node})
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_rest_of_a_dead_node_is_ended_before_it_is_told(tmp_path: Path, number: signal.Signals) -> None:
    """When the agent dies, its whole group and what left it are gone before the exit is told."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        provider = make(tmp_path, exits)
        node, pid = await provider.create(80, NodeOrder(80, 4, free_port()))
        await until(lambda: len(processes_of(pid, node)) == 3)
        os.kill(pid, number)
        await until(lambda: exits)
        assert processes_of(pid, node) == []
        assert exits == [(80, -number, f"killed by signal {int(number)}")]

    asyncio.run(act())


def test_stopped_group_is_destroyed(tmp_path: Path) -> None:
    """A node under SIGSTOP is destroyed like any other."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        provider = make(tmp_path, exits)
        node, pid = await provider.create(80, NodeOrder(80, 4, free_port()))
        await until(lambda: len(processes_of(pid, node)) == 3)
        os.killpg(pid, signal.SIGSTOP)
        await provider.destroy(80)
        await until(lambda: exits)
        assert processes_of(pid, node) == []

    asyncio.run(act())


def test_node_that_died_unseen_leaves_nothing(tmp_path: Path) -> None:
    """The rest of a node whose agent died while the provisioner was away is ended at its restart."""
    left = []

    async def before() -> None:
        provider = make(tmp_path, [])
        node, pid = await provider.create(80, NodeOrder(80, 4, free_port()))
        await until(lambda: len(processes_of(pid, node)) == 3)
        left.append((node, pid))

    async def after() -> None:
        found = await make(tmp_path, []).adopt()
        assert [(it.key, it.status) for it in found] == [("80", "dead")]

    asyncio.run(before())
    node, pid = left[0]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(processes_of(pid, node)) == 2
    asyncio.run(after())
    assert processes_of(pid, node) == []


def test_half_made_node_is_found_by_its_lock(tmp_path: Path) -> None:
    """A node whose pid never reached the book is found by the lock that its agent holds."""

    async def act() -> list[Found]:
        return await make(tmp_path, []).adopt()

    book = tmp_path / "pools" / "home" / "nodes.json"
    book.parent.mkdir(parents=True)
    entry = {"order": 80, "node": "node-127.0.0.1_9001", "port": 9001, "slots": 4}
    book.write_text(json.dumps({"port_floor": 9002, "nodes": [entry]}))
    lock = DirectoryLock(tmp_path / "nodes" / "node-127.0.0.1_9001")
    found = asyncio.run(act())
    lock.release()
    assert [(it.status, it.pid) for it in found] == [("alive", os.getpid())]


def test_taken_port_is_passed_over(tmp_path: Path) -> None:
    """The first port that can be bound is taken, and it is in the book before the agent starts."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        provider = make(tmp_path, exits)
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = other.getsockname()[1]
            node, _ = await provider.create(80, NodeOrder(80, 4, taken))
        assert int(node.rpartition("_")[2]) > taken
        await provider.destroy(80)
        await until(lambda: exits)

    asyncio.run(act())


def test_template_that_died_is_replaced(tmp_path: Path) -> None:
    """Without its template a provisioner starts agents plainly, and by a new template afterwards."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        answers: list[int] = []
        spawner = TemplateSpawner()
        provider = ProcessProvider(PoolConfig("127.0.0.1:9", str(tmp_path), "home"), spawner)
        provider.on_exit = lambda *exit_: exits.append(exit_)
        provider.on_answer = answers.append
        os.kill(spawner._template, signal.SIGKILL)
        floor = free_port()
        for order in (80, 81):
            await provider.create(order, NodeOrder(order, 4, floor))
        await until(lambda: len(answers) == 2)
        for order in (80, 81):
            await provider.destroy(order)
        await until(lambda: len(exits) == 2)
        assert {it[1] for it in exits} == {-9}
        spawner.close()

    asyncio.run(act())


def test_agent_out_of_sight_is_ended_with_its_node(tmp_path: Path) -> None:
    """A second agent that holds the lock of a node's directory is ended with the node."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        provider = make(tmp_path, exits)
        node, pid = await provider.create(80, NodeOrder(80, 4, free_port()))
        ghost = subprocess.Popen(["sleep", "600"], start_new_session=True)
        lock = tmp_path / "nodes" / node / "lock"
        lock.write_text(f"{ghost.pid} {procfs.start_of(ghost.pid)}")
        os.kill(pid, signal.SIGKILL)
        await until(lambda: exits)
        assert ghost.wait(10) == -signal.SIGKILL

    asyncio.run(act())
