"""Nodes as processes on this machine: each an agent in a session of its own. Shell of the agents.

A node has a directory `<data_dir>/nodes/<node id>` with its configuration, its lock and its logs, which stays
after its end. The book `<data_dir>/pools/<pool>/nodes.json` says which order made which node and which port
is the first that was never given out; it is written before a node is started.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

from agents import cgroups, procfs
from agents.disk import home_of, open_log, read_holder, rotate_log
from agents.node_book import ANSWER_PAUSE_S, ANSWER_TRIES_MAX, Entry, NodeBook, answers, write_node_config
from agents.provider import CreateError, OnNodeAnswer, OnNodeExit, OnNodeRestart
from agents.settings import PoolConfig
from agents.spawner import Spawner
from agents.state import Found
from sdk.contract.ids import node_id
from sdk.contract.orders import NodeOrder

log = logging.getLogger("watchkeep.provisioner")

#: Bound of waiting for what was killed to go. Source: policy `destroy_within_ms`.
DESTROY_WITHIN_S = 2.0
_LOOK_AGAIN_S = 0.003
#: Starts of an agent in its place without an answer in between, after which the node counts as dead.
_STARTS_MAX = 3

#: Ends what no process tells of: the containers of a node that keeps its files in a directory.
Sweep = Callable[[str, Path], Awaitable[None]]


class ProcessProvider:
    """Makes nodes out of local processes."""

    def __init__(self, config: PoolConfig, spawner: Spawner, sweep: Sweep | None = None) -> None:
        self.on_exit: OnNodeExit = lambda *_: None
        self.on_answer: OnNodeAnswer = lambda *_: None
        self.on_restart: OnNodeRestart = lambda *_: None
        self._sweep = sweep
        #: Starts of each node's agent since it last answered.
        self._starts: dict[int, int] = {}
        self._config = config
        self._spawner = spawner
        self._data_dir = Path(config.data_dir)
        self._book = NodeBook(self._data_dir / "pools" / config.pool / "nodes.json", config)
        self._pidfds: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def adopt(self) -> list[Found]:
        """Compare the book with what runs; end the rest of what has died."""
        found = []
        for entry in self._book.entries.values():
            if entry.state == "made" and not entry.pid:
                # The last provisioner died between starting the agent and noting its pid: the lock names it.
                entry.pid, entry.start = read_holder(self._directory(entry))
            status: Literal["alive", "dead", "parked"] = "alive"
            if entry.state == "ended" or not (procfs.is_alive(entry.pid, entry.start) and self._watch(entry)):
                if entry.state == "made" and self._config.restart_agents:
                    # Its apps may live: whoever brings it back starts the agent only.
                    found.append(Found(str(entry.order), entry.order, "parked", entry.node))
                    continue
                status = "dead"
                await self._end_group(entry)
                if entry.state == "parked":
                    status = "parked"
                else:
                    entry.state = "ended"
            else:
                entry.state = "made"
            found.append(Found(str(entry.order), entry.order, status, entry.node, entry.pid))
        self._book.write()
        return found

    async def create(self, order: int, wish: NodeOrder | None) -> tuple[str, int]:
        """Start an agent on the first free port, or on its old one."""
        entry = self._book.entries.get(order)
        if entry is not None and order in self._pidfds:
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
        await self._start(entry)
        return entry.node, entry.pid

    async def _start(self, entry: Entry) -> None:
        """Start the agent of a node; CreateError if that fails, and then the node has ended."""
        try:
            entry.pid = await self._spawn(entry)
        except OSError as error:
            entry.state = "ended"
            self._book.write()
            raise CreateError(f"cannot start the agent of {entry.node}: {error}") from None
        entry.start = procfs.start_of(entry.pid)
        entry.born = entry.born or entry.start
        self._book.write()
        if not self._watch(entry):
            entry.state = "ended"
            self._book.write()
            raise CreateError(f"the agent of {entry.node} ended at once")

    async def stop(self, order: int) -> None:
        """SIGTERM to the agent, which stops its apps with grace."""
        entry = self._book.entries.get(order)
        if entry is not None and order in self._pidfds:
            entry.state = "parked"
            self._book.write()
            procfs.send_signal(entry.pid, signal.SIGTERM)
            # An agent that was stopped by a signal has to run in order to end.
            procfs.send_signal(entry.pid, signal.SIGCONT)

    async def destroy(self, order: int) -> None:
        """SIGKILL to the whole group; the end is told when it is empty."""
        entry = self._book.entries.get(order)
        if entry is None:
            return
        if order in self._pidfds:
            # On disk first: who finds the agent dead must not start it again.
            entry.state = "ended"
            self._book.write()
            self._kill_group(entry)
        elif entry.state != "ended":
            entry.state = "ended"
            self._book.write()
            await self._end_group(entry)

    async def forget(self, order: int) -> None:
        """Strike an ended node from the book; its directory stays for whoever wants to know why."""
        if order not in self._pidfds and self._book.entries.pop(order, None) is not None:
            self._book.write()

    async def tidy(self) -> None:
        """Set full logs aside."""
        for entry in self._book.entries.values():
            rotate_log(self._directory(entry) / "agent.log")

    def close(self) -> None:
        """Watch no more; the nodes run on."""
        for pidfd in self._pidfds.values():
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)
        self._pidfds.clear()
        for task in self._tasks:
            task.cancel()

    def _directory(self, entry: Entry) -> Path:
        return self._data_dir / "nodes" / entry.node

    async def _spawn(self, entry: Entry) -> int:
        directory = self._directory(entry)
        directory.mkdir(parents=True, exist_ok=True)
        path = write_node_config(self._config, entry, directory)
        log = open_log(directory / "agent.log")
        try:
            return await self._spawner.spawn(path, log)
        finally:
            os.close(log)

    def _watch(self, entry: Entry) -> bool:
        """Hear of the agent's end and of its first answer; False if it has ended already."""
        try:
            pidfd = os.pidfd_open(entry.pid)
        except ProcessLookupError:
            return False
        self._pidfds[entry.order] = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._on_end, entry)
        self._begin(self._await_answer(entry))
        return True

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_end(self, entry: Entry) -> None:
        pidfd = self._pidfds.pop(entry.order)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self._begin(self._finish(entry))

    async def _finish(self, entry: Entry) -> None:
        """The agent has ended: it starts again, or all else of the node ends too and that is told."""
        if self._may_restart(entry):
            code = await self._spawner.reap(entry.pid)
            if await self._restart(entry):
                return
            await self._end_group(entry)
            self.on_exit(entry.order, code, _reason(code))
            return
        # The group goes first, the leader is reaped after: until then nobody else can get its pid.
        await self._end_group(entry)
        code = await self._spawner.reap(entry.pid)
        if entry.state != "parked":
            entry.state = "ended"
        self._book.write()
        self.on_exit(entry.order, code, _reason(code))

    def _may_restart(self, entry: Entry) -> bool:
        """Whether the agent died by itself and deserves another start."""
        self._starts[entry.order] = self._starts.get(entry.order, 0) + 1
        return (
            self._config.restart_agents and entry.state == "made" and self._starts[entry.order] <= _STARTS_MAX
        )

    async def _restart(self, entry: Entry) -> bool:
        """Start the agent again in its place; False if that fails or the node was to go meanwhile."""
        log.warning("the agent of %s has died: starting it again", entry.node)
        try:
            await self._start(entry)
        except CreateError as error:
            log.warning("%s", error)
            return False
        # The state is another one if the node was destroyed while we waited.
        state: str = entry.state
        if state == "ended":
            self._kill_group(entry)
        self.on_restart(entry.order, entry.node, entry.pid)
        return True

    def _kill_group(self, entry: Entry) -> None:
        found = procfs.look_up(entry.pid)
        if found is None or found.start != entry.start:
            return
        if found.group == entry.pid:
            os.killpg(entry.pid, signal.SIGKILL)
        else:
            # Just forked: it does not lead a group yet and has started nothing.
            procfs.send_signal(entry.pid, signal.SIGKILL)

    def _kill_holder(self, entry: Entry) -> None:
        """End an agent of this node that we lost sight of; its lock names it."""
        pid, start = read_holder(self._directory(entry))
        if pid != entry.pid and procfs.is_alive(pid, start) and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)

    async def _end_group(self, entry: Entry) -> None:
        """Kill what is left of a node until nothing lives; bounded."""
        if self._sweep is not None:
            await self._sweep(entry.node, self._directory(entry))
        home = home_of(self._directory(entry))
        cgroups.sweep(home)
        if not entry.pid:
            return
        self._kill_group(entry)
        self._kill_holder(entry)
        marks = {"WATCHKEEP_NODE_ID": entry.node}
        loop = asyncio.get_running_loop()
        until_s = loop.time() + DESTROY_WITHIN_S
        leader = procfs.look_up(entry.pid)
        # A pid is not given out again while a session bears it: unless a stranger leads it, the session is
        # ours.
        session = entry.pid if leader is None or leader.start == entry.start else -1
        # Nothing of a node is older than its agent; the marks of older processes, most of a machine, are not read.
        since = entry.born or entry.start
        while left := procfs.select(
            lambda it: it.start >= since and (it.session == session or procfs.has_marks(it.pid, marks))
        ):
            for pid in left:
                procfs.send_signal(pid, signal.SIGKILL)
            if loop.time() > until_s:
                return
            await asyncio.sleep(_LOOK_AGAIN_S)
        # The kernel lets a group go some ms after its last process.
        while cgroups.sweep(home) and loop.time() <= until_s:
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _await_answer(self, entry: Entry) -> None:
        """Ask the agent for its health until it answers once."""
        pid = entry.pid
        for _ in range(ANSWER_TRIES_MAX):
            await asyncio.sleep(ANSWER_PAUSE_S)
            if entry.order not in self._pidfds or entry.pid != pid:
                return
            if await answers(self._config.ip, entry.port, entry.node):
                self._starts.pop(entry.order, None)
                self.on_answer(entry.order)
                return


def _reason(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "ended while its provisioner was away"
    if code < 0:
        return f"killed by signal {-code}"
    return f"exited with code {code}"


def create_sweep(config: PoolConfig) -> Sweep | None:
    """How containers that a dead node left are ended; None where nodes have none."""
    if config.docker is None:
        return None
    from agents.docker_node import create_docker_sweep

    return create_docker_sweep(config.docker, config.prefix)
