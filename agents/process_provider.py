"""Nodes as processes on this machine: each an agent in a session of its own. Shell of the agents.

A node has a directory `<data_dir>/nodes/<node id>` with its configuration, its lock and its logs, which stays
after its end. The book `<data_dir>/pools/<pool>/nodes.json` says which order made which node and which port
is the first that was never given out; it is written before a node is started.
"""

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any, Literal

import msgspec

from agents import procfs
from agents.disk import open_log, read_holder, read_record, rotate_log, write_atomic
from agents.provider import CreateError, OnNodeAnswer, OnNodeExit
from agents.settings import NodeConfig, PoolConfig
from agents.spawner import Spawner
from agents.state import Found
from sdk.contract.ids import node_id
from sdk.contract.orders import NodeOrder

#: Bound of waiting for what was killed to go. Source: policy `destroy_within_ms`.
DESTROY_WITHIN_S = 2.0
_LOOK_AGAIN_S = 0.003
#: Between two tries whether a new agent answers, and when to give up asking: silence is the planner's matter.
_ANSWER_PAUSE_S = 0.1
_ANSWER_TRIES_MAX = 600
#: Ports run out here.
_PORT_MAX = 65_535


class Entry(msgspec.Struct):
    """A node in the book."""

    order: int
    node: str
    port: int
    slots: int
    #: Agent's process, 0 if it was not started (yet, or as far as the book knows).
    pid: int = 0
    start: int = 0
    state: Literal["made", "parked", "ended"] = "made"


class Book(msgspec.Struct):
    """What the provider keeps on disk."""

    #: Every port below was given out or lies under the platform's first port.
    port_floor: int = 0
    nodes: list[Entry] = []


class ProcessProvider:
    """Makes nodes out of local processes."""

    def __init__(self, config: PoolConfig, spawner: Spawner) -> None:
        self.on_exit: OnNodeExit = lambda *_: None
        self.on_answer: OnNodeAnswer = lambda *_: None
        self._config = config
        self._spawner = spawner
        self._data_dir = Path(config.data_dir)
        self._book_path = self._data_dir / "pools" / config.pool / "nodes.json"
        book = read_record(self._book_path, Book, Book())
        self._port_floor = book.port_floor
        self._entries = {entry.order: entry for entry in book.nodes}
        self._pidfds: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def adopt(self) -> list[Found]:
        """Compare the book with what runs; end the rest of what has died."""
        found = []
        for entry in self._entries.values():
            if entry.state == "made" and not entry.pid:
                # The last provisioner died between starting the agent and noting its pid: the lock names it.
                entry.pid, entry.start = read_holder(self._directory(entry))
            status: Literal["alive", "dead", "parked"] = "alive"
            if entry.state == "ended" or not (procfs.is_alive(entry.pid, entry.start) and self._watch(entry)):
                status = "dead"
                await self._end_group(entry)
                if entry.state == "parked":
                    status = "parked"
                else:
                    entry.state = "ended"
            else:
                entry.state = "made"
            found.append(Found(str(entry.order), entry.order, status, entry.node, entry.pid))
        self._write_book()
        return found

    async def create(self, order: int, wish: NodeOrder | None) -> tuple[str, int]:
        """Start an agent on the first free port, or on its old one."""
        entry = self._entries.get(order)
        if entry is not None and order in self._pidfds:
            return entry.node, entry.pid
        if entry is None:
            if wish is None:
                raise CreateError(f"order {order} is not known here")
            port = self._take_port(wish.port_floor)
            entry = Entry(order, node_id(self._config.ip, port), port, wish.slots)
            self._entries[order] = entry
        elif entry.state == "ended":
            raise CreateError(f"{entry.node} of order {order} has ended before")
        entry.pid = entry.start = 0
        entry.state = "made"
        self._write_book()
        try:
            entry.pid = await self._spawn(entry)
        except OSError as error:
            entry.state = "ended"
            self._write_book()
            raise CreateError(f"cannot start the agent of {entry.node}: {error}") from None
        entry.start = procfs.start_of(entry.pid)
        self._write_book()
        if not self._watch(entry):
            entry.state = "ended"
            self._write_book()
            raise CreateError(f"the agent of {entry.node} ended at once")
        return entry.node, entry.pid

    async def stop(self, order: int) -> None:
        """SIGTERM to the agent, which stops its apps with grace."""
        entry = self._entries.get(order)
        if entry is not None and order in self._pidfds:
            entry.state = "parked"
            self._write_book()
            procfs.send_signal(entry.pid, signal.SIGTERM)
            # An agent that was stopped by a signal has to run in order to end.
            procfs.send_signal(entry.pid, signal.SIGCONT)

    async def destroy(self, order: int) -> None:
        """SIGKILL to the whole group; the end is told when it is empty."""
        entry = self._entries.get(order)
        if entry is None:
            return
        if order in self._pidfds:
            self._kill_group(entry)
        elif entry.state != "ended":
            entry.state = "ended"
            self._write_book()
            await self._end_group(entry)

    async def forget(self, order: int) -> None:
        """Strike an ended node from the book; its directory stays for whoever wants to know why."""
        if order not in self._pidfds and self._entries.pop(order, None) is not None:
            self._write_book()

    async def tidy(self) -> None:
        """Set full logs aside."""
        for entry in self._entries.values():
            rotate_log(self._directory(entry) / "agent.log")

    def _directory(self, entry: Entry) -> Path:
        return self._data_dir / "nodes" / entry.node

    def _write_book(self) -> None:
        self._book_path.parent.mkdir(parents=True, exist_ok=True)
        book = Book(self._port_floor, list(self._entries.values()))
        write_atomic(self._book_path, msgspec.json.encode(book))

    def _take_port(self, floor: int) -> int:
        """The first port that was never given out and can be bound."""
        for port in range(max(floor, self._port_floor, self._config.port_base), _PORT_MAX + 1):
            if self._can_bind(port):
                self._port_floor = port + 1
                return port
        raise CreateError(
            f"no free port on {self._config.ip} from {max(floor, self._port_floor, self._config.port_base)} on"
        )

    def _can_bind(self, port: int) -> bool:
        family = socket.AF_INET6 if ":" in self._config.ip else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._config.ip, port))
            except OSError:
                return False
        return True

    async def _spawn(self, entry: Entry) -> int:
        directory = self._directory(entry)
        directory.mkdir(parents=True, exist_ok=True)
        config = NodeConfig(
            bootstrap=self._config.bootstrap,
            prefix=self._config.prefix,
            directory=str(directory),
            ip=self._config.ip,
            port=entry.port,
            order=entry.order,
            pool=self._config.pool,
            slots=entry.slots,
            log_level=self._config.log_level,
            secrets=str(Path(self._config.data_dir).resolve() / "secrets"),
        )
        path = directory / "agent.json"
        write_atomic(path, msgspec.json.encode(config))
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
        """The agent has ended: so does all else of the node, then that is told."""
        # The group goes first, the leader is reaped after: until then nobody else can get its pid.
        await self._end_group(entry)
        code = await self._spawner.reap(entry.pid)
        if entry.state != "parked":
            entry.state = "ended"
        self._write_book()
        self.on_exit(entry.order, code, _reason(code))

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
        while left := procfs.select(
            lambda it: it.start >= entry.start and (it.session == session or procfs.has_marks(it.pid, marks))
        ):
            for pid in left:
                procfs.send_signal(pid, signal.SIGKILL)
            if loop.time() > until_s:
                return
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _await_answer(self, entry: Entry) -> None:
        """Ask the agent for its health until it answers once."""
        for _ in range(_ANSWER_TRIES_MAX):
            await asyncio.sleep(_ANSWER_PAUSE_S)
            if entry.order not in self._pidfds:
                return
            if await _answers(self._config.ip, entry.port, entry.node):
                self.on_answer(entry.order)
                return


async def _answers(ip: str, port: int, node: str) -> bool:
    """Whether an agent of that name listens there."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(ip, port)
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
                return node.encode() in await reader.read(4_096)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _reason(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "ended while its provisioner was away"
    if code < 0:
        return f"killed by signal {-code}"
    return f"exited with code {code}"
