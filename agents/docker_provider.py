"""Nodes as containers on the docker daemon of this machine: each runs an agent and its apps. Shell of the agents.

Rules:
1. A node's container shares the machine's network, so that its address and port are those of a local process. The
   project and its Python are mounted read-only, the node's directory so that it can be written: it outlives the
   container.
2. Labels say whose a container is: platform, pool, order. What carries our labels and is no node of the book is
   removed, half-made leftovers too.
3. The book is written before a container is made, and names the node's port for ever.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from agents import procfs
from agents.containers import (
    Container,
    ContainerError,
    ContainerPlan,
    Containers,
    Mount,
    NoContainerError,
    Outcome,
    outcome_of,
)
from agents.docker_calls import START_WITHIN_S, DockerCalls
from agents.node_book import (
    ANSWER_PAUSE_S,
    ANSWER_TRIES_MAX,
    Entry,
    NodeBook,
    answers,
    daemon_host,
    write_node_config,
)
from agents.provider import CreateError, OnNodeAnswer, OnNodeExit, OnNodeRestart
from agents.settings import PoolConfig
from agents.spawner import ROOT
from agents.state import Found
from sdk.contract.ids import node_id
from sdk.contract.orders import NodeOrder

#: Between two looks at nodes whose first process cannot be watched, or that were to be killed and live.
LOOK_EVERY_S = 1.0
#: Looks for the exit code of a container whose process is gone; the daemon is a few ms behind.
_LOOKS_FOR_CODE = 20
_LOOK_AGAIN_S = 0.02
_RUN_MARK = "WATCHKEEP_RUN_MARK"


def _run_afresh(containers: Containers, plan: ContainerPlan) -> Container:
    """Start a container; one of that name that has ended, as that of a parked node, makes room for it."""
    for there in containers.list_labelled(plan.labels):
        if not there.is_alive:
            containers.remove(there.id)
    return containers.run(plan)


class DockerProvider:
    """Makes nodes out of containers."""

    def __init__(
        self,
        config: PoolConfig,
        calls: DockerCalls,
        *,
        look_every_s: float = LOOK_EVERY_S,
        sweep: Callable[[str, Path], Awaitable[None]] | None = None,
    ) -> None:
        """Serve a pool; `sweep` ends the containers of apps that a node with this name and directory left."""
        self.on_exit: OnNodeExit = lambda *_: None
        self.on_answer: OnNodeAnswer = lambda *_: None
        self.on_restart: OnNodeRestart = lambda *_: None
        self._config = config
        self._calls = calls
        self._look_every_s = look_every_s
        self._sweep = sweep
        self._data_dir = Path(config.data_dir).resolve()
        self._book = NodeBook(self._data_dir / "pools" / config.pool / "nodes.json", config)
        self._home = hashlib.sha256(str(self._data_dir).encode()).hexdigest()[:12]
        #: Containers that may run, by order; empty while one is being made.
        self._living: dict[int, str] = {}
        self._condemned: set[int] = set()
        self._pidfds: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None

    async def adopt(self) -> list[Found]:
        """Compare the book with what carries our labels; if the daemon is away or ill, the book counts."""
        try:
            seen = await self._calls.call(lambda it: it.list_labelled(self._labels))
        except ContainerError:
            seen = None
        there = {self._order_of(it): it for it in seen or [] if it.is_alive}
        found = []
        for entry in self._book.entries.values():
            status: Literal["alive", "dead", "parked"] = "parked" if entry.state == "parked" else "dead"
            container = there.get(entry.order)
            if entry.state != "ended" and (container is not None or (seen is None and entry.state == "made")):
                status = "alive"
                entry.state = "made"
                self._watch(entry, container)
            elif status == "dead":
                entry.state = "ended"
                await self._end_rest(entry)
            found.append(Found(str(entry.order), entry.order, status, entry.node, entry.pid))
        self._book.write()
        for left in seen or []:
            if left.id not in self._living.values():
                await self._remove(left.id)
        return found

    async def create(self, order: int, wish: NodeOrder | None) -> tuple[str, int]:
        """Start a container on the first free port, or on the node's old one."""
        entry = self._book.entries.get(order)
        if entry is not None and order in self._living:
            return entry.node, entry.pid
        if entry is None:
            if wish is None:
                raise CreateError(f"order {order} is not known here")
            port = self._book.take_port(wish.port_floor)
            entry = Entry(order, node_id(self._config.ip, port), port, wish.slots)
            self._book.entries[order] = entry
        elif entry.state == "ended":
            raise CreateError(f"{entry.node} of order {order} has ended before")
        entry.pid = entry.start = 0
        entry.state = "made"
        self._book.write()
        self._living[order] = ""
        try:
            plan = self._plan(entry)
            made = await self._calls.call(lambda it: _run_afresh(it, plan), START_WITHIN_S)
        except (ContainerError, OSError) as error:
            # If it comes to life after all, the look finds a container that is none of ours and removes it.
            del self._living[order]
            entry.state = "ended"
            self._book.write()
            raise CreateError(f"cannot start the container of {entry.node}: {error}") from None
        entry.pid, entry.start = made.pid, procfs.start_of(made.pid)
        self._book.write()
        self._watch(entry, made)
        return entry.node, entry.pid

    async def stop(self, order: int) -> None:
        """SIGTERM to the agent, which stops its apps with grace."""
        entry, container = self._book.entries.get(order), self._living.get(order)
        if entry is not None and container:
            entry.state = "parked"
            self._book.write()
            with contextlib.suppress(ContainerError):
                await self._calls.call(lambda it: it.signal(container, "SIGTERM"))

    async def destroy(self, order: int) -> None:
        """SIGKILL to all in the container; the end is told when it is gone."""
        entry = self._book.entries.get(order)
        if entry is None:
            return
        entry.state = "ended"
        self._book.write()
        container = self._living.get(order)
        if not container:
            return
        self._condemned.add(order)
        try:
            await self._calls.call(lambda it: it.signal(container, "SIGKILL"))
        except NoContainerError:
            self._begin(self._finish(entry))
        except ContainerError:
            # The daemon does not do it: we can, if the process is of this machine and ours to kill.
            if procfs.is_alive(entry.pid, entry.start):
                procfs.send_signal(entry.pid, signal.SIGKILL)
            self._look_soon(self._look_every_s)

    async def forget(self, order: int) -> None:
        """Strike an ended node from the book; its directory stays for whoever wants to know why."""
        if order not in self._living and self._book.entries.pop(order, None) is not None:
            self._book.write()

    async def tidy(self) -> None:
        """Look at all containers."""
        await self._look()

    def close(self) -> None:
        """Let go of the daemon; the nodes run on."""
        for order, pidfd in list(self._pidfds.items()):
            self._drop_pidfd(order, pidfd)
        for task in self._tasks:
            task.cancel()
        self._calls.close()

    @property
    def _labels(self) -> dict[str, str]:
        return {
            "watchkeep.kind": "node",
            "watchkeep.prefix": self._config.prefix,
            "watchkeep.pool": self._config.pool,
            "watchkeep.home": self._home,
        }

    def _order_of(self, container: Container) -> int:
        order = container.labels.get("watchkeep.order", "")
        return int(order) if order.isascii() and order.isdigit() else -1

    def _plan(self, entry: Entry) -> ContainerPlan:
        """The node's container; writes its configuration."""
        directory = self._data_dir / "nodes" / entry.node
        directory.mkdir(parents=True, exist_ok=True)
        config = write_node_config(self._config, entry, directory)
        mounts = [Mount(str(ROOT), str(ROOT)), Mount(str(directory), str(directory), read_only=False)]
        # What its apps may know lies beside the nodes; made now, so that a secret may come later.
        known = self._data_dir / "secrets"
        known.mkdir(mode=0o700, exist_ok=True)
        mounts.append(Mount(str(known), str(known)))
        token = self._config.exec_token
        if token and Path(token).exists():
            mounts.append(Mount(str(Path(token).resolve()), str(Path(token).resolve())))
        docker = self._config.docker
        if docker is not None and docker.socket_in_nodes:
            scheme, _, socket = daemon_host(docker).partition("://")
            mounts += [Mount(socket, socket)] if scheme == "unix" else []
        packages = Path(sys.prefix)
        if not packages.is_relative_to(ROOT):
            mounts.append(Mount(str(packages), str(packages)))
        mark = os.environ.get(_RUN_MARK)
        container = self._config.container
        return ContainerPlan(
            name=f"{self._config.prefix}-{entry.node}-{self._home}-{entry.order}".replace(":", "_"),
            image=container.image,
            command=[sys.executable, "-m", "agents.node", "--config", str(config)],
            env={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **({_RUN_MARK: mark} if mark else {})},
            labels={**self._labels, "watchkeep.order": str(entry.order), "watchkeep.node": entry.node},
            memory_mib=container.memory_mib,
            cpu_percent=container.cpu_percent,
            mounts=mounts,
            working_dir=str(ROOT),
        )

    def _watch(self, entry: Entry, container: Container | None) -> None:
        """Hear of the container's end, and of its agent's first answer."""
        self._living[entry.order] = container.id if container is not None else self._plan(entry).name
        if container is not None:
            entry.pid, entry.start = container.pid, procfs.start_of(container.pid)
        self._begin(self._await_answer(entry))
        try:
            if not procfs.is_alive(entry.pid, entry.start):
                raise ProcessLookupError
            pidfd = os.pidfd_open(entry.pid)
        except OSError:
            self._look_soon(0.0)
            return
        self._pidfds[entry.order] = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._on_process_end, entry, pidfd)

    def _on_process_end(self, entry: Entry, pidfd: int) -> None:
        self._drop_pidfd(entry.order, pidfd)
        self._begin(self._finish(entry))

    def _drop_pidfd(self, order: int, pidfd: int) -> None:
        if self._pidfds.get(order) == pidfd:
            del self._pidfds[order]
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)

    async def _finish(self, entry: Entry) -> None:
        """The first process is gone: ask how it ended, remove the container, and say so."""
        outcome: Outcome = None, "ended; the docker daemon did not say how"
        container = self._living.get(entry.order, "")
        for _ in range(_LOOKS_FOR_CODE):
            try:
                ended = await self._calls.call(lambda it: it.look_up(container))
            except NoContainerError:
                outcome = outcome_of(None)
                break
            except ContainerError:
                break
            if not ended.is_alive:
                outcome = outcome_of(ended)
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        await self._tell(entry, outcome)

    async def _tell(self, entry: Entry, outcome: Outcome) -> None:
        container = self._living.pop(entry.order, None)
        if container is None:
            return
        self._condemned.discard(entry.order)
        pidfd = self._pidfds.get(entry.order)
        if pidfd is not None:
            self._drop_pidfd(entry.order, pidfd)
        if entry.state != "parked":
            entry.state = "ended"
        self._book.write()
        await self._remove(container)
        await self._end_rest(entry)
        self.on_exit(entry.order, *outcome)

    async def _end_rest(self, entry: Entry) -> None:
        """End the containers beside that of the node which run its apps."""
        if self._sweep is not None:
            await self._sweep(entry.node, self._data_dir / "nodes" / entry.node)

    async def _look(self) -> None:
        """Compare all containers with what we know: ends that were missed, kills that failed, strangers."""
        before = dict(self._living)
        try:
            seen = await self._calls.call(lambda it: it.list_labelled(self._labels))
        except ContainerError:
            return
        for order, container in before.items():
            entry = self._book.entries.get(order)
            # What was made meanwhile is not in the list, and no stranger either.
            if entry is None or not container or self._living.get(order) != container:
                continue
            there = next((it for it in seen if container in (it.id, it.name)), None)
            if there is None or not there.is_alive:
                await self._tell(entry, outcome_of(there))
            elif order in self._condemned:
                await self.destroy(order)
        for left in seen:
            if self._order_of(left) not in self._living:
                await self._remove(left.id)

    def _look_soon(self, pause_s: float) -> None:
        """Look until each living node is watched by its process and none is to be killed."""
        if self._looking is None or self._looking.done():
            self._looking = self._begin(self._look_on(pause_s))

    async def _look_on(self, pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            await self._look()
            pause_s = self._look_every_s
            if not self._condemned and self._living.keys() <= self._pidfds.keys():
                return

    async def _remove(self, container: str) -> None:
        """Remove a container; what does not go now goes with the next look."""
        with contextlib.suppress(ContainerError):
            await self._calls.call(lambda it: it.remove(container))

    async def _await_answer(self, entry: Entry) -> None:
        """Ask the agent for its health until it answers once."""
        container = self._living.get(entry.order)
        for _ in range(ANSWER_TRIES_MAX):
            await asyncio.sleep(ANSWER_PAUSE_S)
            if self._living.get(entry.order) != container:
                return
            if await answers(self._config.ip, entry.port, entry.node):
                self.on_answer(entry.order)
                return

    def _begin(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
