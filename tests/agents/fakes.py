"""Driver and provider without processes; they pass the contract suites of the real ones."""

import asyncio
from collections.abc import Awaitable

from agents.driver import OnExit, StartError
from agents.execution import Execution
from agents.provider import CreateError, OnNodeAnswer, OnNodeExit, OnNodeRestart
from agents.state import Found
from sdk.contract.frames import Terminal
from sdk.contract.ids import node_id
from sdk.contract.orders import AppOrder, NodeOrder

#: Ids of made-up processes; no real pid is ever so high.
_FIRST_PID = 10_000_000
TERM, KILL = -15, -9


class FakeWorld:
    """Where made-up processes live; it outlasts the fakes as the machine outlasts an agent."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.next_pid = _FIRST_PID
        #: The book that a fake keeps: its disk.
        self.book: dict[str, tuple[int, int, str]] = {}
        self.port_floor = 0
        self.taken_ports: set[int] = set()

    def spawn(self) -> int:
        """A new process."""
        self.next_pid += 1
        self.running.add(self.next_pid)
        return self.next_pid


class FakeDriver:
    """Knows three programs: `sleep` goes on, `false` ends with 1, anything else cannot be started."""

    name = "fake"

    def __init__(self, world: FakeWorld) -> None:
        self.on_exit: OnExit = lambda *_: None
        self._world = world
        self._live: dict[str, tuple[int, int]] = {}

    async def adopt(self) -> list[Found]:
        """What the book names."""
        found = []
        for app, (generation, pid, _) in self._world.book.items():
            is_alive = pid in self._world.running
            if is_alive:
                self._live[app] = (generation, pid)
            found.append(Found(app, generation, "alive" if is_alive else "dead", pid=pid))
        return found

    async def start(self, order: AppOrder) -> int:
        """Start a made-up process."""
        if order.app in self._live:
            generation, pid = self._live[order.app]
            if generation == order.generation:
                return pid
            raise StartError(f"generation {generation} still runs")
        if order.command[0] not in ("sleep", "false"):
            raise StartError(f"cannot start {order.command[0]}")
        pid = self._world.spawn()
        self._live[order.app] = (order.generation, pid)
        self._world.book[order.app] = (order.generation, pid, "")
        if order.command[0] == "false":
            self._end_soon(order.app, order.generation, 1)
        return pid

    async def stop(self, app: str, generation: int) -> None:
        """Made-up processes obey."""
        self._end_soon(app, generation, TERM)

    async def kill(self, app: str, generation: int) -> None:
        """And die."""
        self._end_soon(app, generation, KILL)

    async def forget(self, app: str, generation: int) -> None:
        """Strike from the book."""
        if app not in self._live and self._world.book.get(app, (0,))[0] == generation:
            del self._world.book[app]

    async def tidy(self) -> None:
        """Nothing to tidy."""

    async def log_tail(self, app: str, lines: int) -> bytes:
        """Made-up processes say little."""
        return f"{lines} lines of {app}".encode()

    def address_of(self, _app: str, _generation: int) -> str:
        """Made-up processes listen nowhere."""
        return ""

    async def execute(
        self, app: str, generation: int, _command: list[str], _terminal: Terminal | None = None
    ) -> Execution | None:
        """Made-up processes run nothing beside them."""
        if self._live.get(app, (0,))[0] == generation:
            raise StartError("made up")
        return None

    def _end_soon(self, app: str, generation: int, code: int) -> None:
        asyncio.get_running_loop().call_soon(self._end, app, generation, code)

    def _end(self, app: str, generation: int, code: int) -> None:
        if self._live.get(app, (0,))[0] == generation:
            _, pid = self._live.pop(app)
            self._world.running.discard(pid)
            self.on_exit(app, generation, code, "made up")


class FakeProvider:
    """Makes nodes that answer at once."""

    def __init__(self, world: FakeWorld) -> None:
        self.on_exit: OnNodeExit = lambda *_: None
        self.on_answer: OnNodeAnswer = lambda *_: None
        self.on_restart: OnNodeRestart = lambda *_: None
        self._world = world
        self._live: dict[int, int] = {}

    async def adopt(self) -> list[Found]:
        """What the book names."""
        found = []
        for key, (order, pid, rest) in self._world.book.items():
            node, state = rest.split(" ")
            is_alive = pid in self._world.running
            if is_alive:
                self._live[order] = pid
            status = "alive" if is_alive else "parked" if state == "parked" else "dead"
            found.append(Found(key, order, status, node, pid))  # type: ignore[arg-type]
        return found

    async def create(self, order: int, wish: NodeOrder | None) -> tuple[str, int]:
        """A made-up agent on the next port."""
        known = self._world.book.get(str(order))
        if known is not None and order in self._live:
            return known[2].split(" ")[0], self._live[order]
        if known is None:
            if wish is None:
                raise CreateError("not known here")
            port = max(wish.port_floor, self._world.port_floor)
            while port in self._world.taken_ports:
                port += 1
            self._world.port_floor = port + 1
            node: str = node_id("127.0.0.1", port)
        else:
            node, state = known[2].split(" ")
            if state != "parked":
                raise CreateError("has ended before")
        pid = self._world.spawn()
        self._live[order] = pid
        self._world.book[str(order)] = (order, pid, f"{node} made")
        asyncio.get_running_loop().call_soon(lambda: self.on_answer(order))
        return node, pid

    async def stop(self, order: int) -> None:
        """Park it."""
        if order in self._live:
            _, pid, rest = self._world.book[str(order)]
            self._world.book[str(order)] = (order, pid, rest.replace("made", "parked"))
            self._end_soon(order, 0)

    async def destroy(self, order: int) -> None:
        """End it."""
        self._end_soon(order, KILL)

    async def forget(self, order: int) -> None:
        """Strike from the book."""
        if order not in self._live:
            self._world.book.pop(str(order), None)

    async def tidy(self) -> None:
        """Nothing to tidy."""

    def close(self) -> Awaitable[None] | None:
        """Nothing is held."""
        return None

    def _end_soon(self, order: int, code: int) -> None:
        asyncio.get_running_loop().call_soon(self._end, order, code)

    def _end(self, order: int, code: int) -> None:
        pid = self._live.pop(order, None)
        if pid is not None:
            self._world.running.discard(pid)
            self.on_exit(order, code, "made up")
