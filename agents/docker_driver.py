"""Apps as containers of their own, on the docker daemon of this machine. Shell of the agents.

Rules:
1. Labels say whose a container is: platform, node, app, generation. What carries our labels and is none of the
   copies we know is removed.
2. A container outlives its agent, and the next one adopts it. A book on disk names what was started, so that
   an agent that starts while the daemon is away does not take its apps for gone.
3. An ended container stays until it is forgotten: it holds the exit code. Its last lines go to the app's log.
4. The end is noticed by the first process (pidfd); a look at all containers every few seconds makes up for
   what that misses, and for kills that did not get through.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from agents import procfs
from agents.containers import (
    Container,
    ContainerError,
    NoContainerError,
    Outcome,
    outcome_of,
)
from agents.disk import open_log, read_record, rotate_log, tail_of, write_atomic
from agents.docker_calls import START_WITHIN_S, DockerCalls
from agents.docker_execution import DockerExecution, start_in_container
from agents.docker_plan import Place, Surroundings, plan_container
from agents.driver import OnExit, StartError
from agents.state import Found
from agents.work_files import remove_files, write_files
from sdk.contract.frames import Terminal
from sdk.contract.orders import AppOrder

#: Between two looks at containers whose first process cannot be watched, or that were to be killed and live.
LOOK_EVERY_S = 1.0
#: Looks for the exit code of a container whose process is gone; the daemon is a few ms behind.
_LOOKS_FOR_CODE = 20
_LOOK_AGAIN_S = 0.02
#: Lines kept of an app's log when its container goes.
_LINES_KEPT = 2_000

#: What a container in this network finds around it; ContainerError if it cannot reach the agent.
Reach = Callable[[str], Awaitable[Surroundings]]


class Copy(msgspec.Struct):
    """A container of ours, as the book on disk has it."""

    app: str
    generation: int
    #: Id, empty while it is being made.
    container: str = ""
    pid: int = 0
    #: Start time of the first process.
    start: int = 0
    network: str = "host"
    #: Its own address in a bridge network.
    ip: str = ""
    has_ended: bool = False
    #: It was told to die; the look tells it again.
    condemned: bool = False


class DockerDriver:
    """Runs apps as containers."""

    name = "docker"

    def __init__(
        self,
        directory: Path,
        place: Place,
        calls: DockerCalls,
        reach: Reach,
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self.on_exit: OnExit = lambda *_: None
        self._directory = directory
        self._place = place
        self._calls = calls
        self._reach = reach
        self._look_every_s = look_every_s
        self._book = directory / "containers.json"
        self._copies: dict[str, Copy] = {}
        self._pidfds: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None

    async def can_serve(self, within_s: float) -> bool:
        """Whether the daemon answers, or has copies of ours."""
        if read_record(self._book, list[Copy], []):
            return True
        try:
            await self._calls.call(lambda it: it.ping(), within_s)
        except ContainerError:
            return False
        return True

    async def adopt(self) -> list[Found]:
        """What carries the labels of this node; if the daemon is away or ill, what the book says runs."""
        book = read_record(self._book, list[Copy], [])
        try:
            seen = await self._calls.call(lambda it: it.list_labelled(self._place.labels))
        except ContainerError:
            return await self._adopt_book(book)
        found = []
        for container in sorted(seen, key=lambda it: self._place.epoch_of(it)[1]):
            app, generation = self._place.epoch_of(container)
            if container.status == "created":
                # Half made: it never ran, so whoever is to start it starts it anew.
                await self._remove(container.id)
                continue
            older = self._copies.get(app)
            if older is not None:
                await self._remove(older.container)
            copy = Copy(
                app,
                generation,
                container.id,
                container.pid,
                procfs.start_of(container.pid),
                container.network,
                container.ip,
            )
            self._copies[app] = copy
            if container.is_alive:
                await self._watch(copy)
            else:
                copy.has_ended = True
            found.append(_found(copy, container))
        self._write_book()
        return [it for it in found if self._copies[it.key].generation == it.epoch]

    async def start(self, order: AppOrder) -> int:
        """Create and start the container."""
        known = self._copies.get(order.app)
        if known is not None and not known.has_ended:
            if known.generation == order.generation:
                return known.pid
            raise StartError(f"generation {known.generation} still runs")
        if order.docker is None:
            raise StartError("the order has no docker table")
        if "/" in order.app or order.app.startswith("."):
            raise StartError(f"{order.app!r:.80} is no name for a log file")
        if known is not None:
            await self.forget(known.app, known.generation)
        copy = Copy(order.app, order.generation, network=order.docker.network)
        self._copies[order.app] = copy
        self._write_book()
        try:
            around = await self._reach(order.docker.network)
            if order.files:
                write_files(self._work_of(order.app), order.files)
            plan = plan_container(
                order, order.docker, self._place, surroundings=around, work=self._work_of(order.app)
            )
            made = await self._calls.call(lambda it: it.run(plan), START_WITHIN_S)
        except OSError as error:
            # If it comes to life after all, the look finds a container that is none of ours and removes it.
            del self._copies[order.app]
            self._write_book()
            raise StartError(str(error)) from None
        copy.container, copy.pid, copy.start = made.id, made.pid, procfs.start_of(made.pid)
        copy.ip = made.ip
        self._write_book()
        await self._watch(copy)
        return copy.pid

    async def stop(self, app: str, generation: int) -> None:
        """SIGTERM to the first process, which hands it on to the app."""
        copy = self._living(app, generation)
        if copy is not None:
            with contextlib.suppress(ContainerError):
                await self._calls.call(lambda it: it.signal(copy.container, "SIGTERM"))

    async def kill(self, app: str, generation: int) -> None:
        """SIGKILL to the first process; all others in the container end with it."""
        copy = self._living(app, generation)
        if copy is None:
            return
        copy.condemned = True
        try:
            await self._calls.call(lambda it: it.signal(copy.container, "SIGKILL"))
        except NoContainerError:
            self._begin(self._finish(copy))
        except ContainerError:
            # The daemon does not do it: we can, if the process is of this machine and ours to kill.
            if procfs.is_alive(copy.pid, copy.start):
                procfs.send_signal(copy.pid, signal.SIGKILL)
            self._look_soon()

    async def forget(self, app: str, generation: int) -> None:
        """Keep the last lines of an ended copy and remove its container."""
        copy = self._copies.get(app)
        if copy is None or copy.generation != generation or not copy.has_ended:
            return
        del self._copies[app]
        self._write_book()
        with contextlib.suppress(ContainerError):
            lines = await self._calls.call(lambda it: it.log_tail(copy.container, _LINES_KEPT))
            self._append_log(app, lines)
        with contextlib.suppress(ContainerError):
            await self._remove(copy.container)
            remove_files(self._work_of(app))

    async def tidy(self) -> None:
        """Look at all containers; set full logs aside."""
        for log in (self._directory / "logs").glob("*.log"):
            rotate_log(log)
        await self._look()

    async def log_tail(self, app: str, lines: int) -> bytes:
        """The end of the container's log, or what was kept of the last one."""
        copy = self._copies.get(app)
        if copy is None or not copy.container:
            return tail_of(self._log_of(app), lines)
        try:
            return await self._calls.call(lambda it: it.log_tail(copy.container, lines))
        except ContainerError as error:
            return f"no log: {error}\n".encode()

    def address_of(self, app: str, generation: int) -> str:
        """The container's own address, if it has one."""
        copy = self._living(app, generation)
        return copy.ip if copy is not None else ""

    async def execute(
        self, app: str, generation: int, command: list[str], terminal: Terminal | None = None
    ) -> DockerExecution | None:
        """Inside the container, as its user, in its directory and with its environment."""
        copy = self._living(app, generation)
        if copy is None:
            return None
        try:
            return await start_in_container(self._calls, copy.container, command, terminal)
        except ContainerError as error:
            raise StartError(f"cannot start {command[0]!r:.200}: {error}") from None

    def close(self) -> None:
        """Let go of the daemon; the containers run on."""
        for app, pidfd in list(self._pidfds.items()):
            self._drop_pidfd(app, pidfd)
        for task in self._tasks:
            task.cancel()
        self._calls.close()

    def _living(self, app: str, generation: int) -> Copy | None:
        copy = self._copies.get(app)
        if copy is None or copy.generation != generation or copy.has_ended or not copy.container:
            return None
        return copy

    async def _adopt_book(self, book: list[Copy]) -> list[Found]:
        """Who is away cannot say that anything has ended: what ran is taken to run on, until a look can tell."""
        found = []
        for copy in book:
            if copy.container:
                self._copies[copy.app] = copy
                status = "dead" if copy.has_ended else "alive"
                found.append(Found(copy.app, copy.generation, status, pid=copy.pid))  # type: ignore[arg-type]
                if not copy.has_ended:
                    await self._watch(copy)
        return found

    async def _watch(self, copy: Copy) -> None:
        """Hear of the end of its first process, or look again soon."""
        if copy.network != "host":
            # Its beats come to an address that we may have to open first; if that fails they do not come.
            with contextlib.suppress(ContainerError):
                await self._reach(copy.network)
        try:
            if not procfs.is_alive(copy.pid, copy.start):
                raise ProcessLookupError
            pidfd = os.pidfd_open(copy.pid)
        except OSError:
            self._look_soon(at_once=True)
            return
        self._pidfds[copy.app] = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._on_process_end, copy, pidfd)

    def _on_process_end(self, copy: Copy, pidfd: int) -> None:
        self._drop_pidfd(copy.app, pidfd)
        self._begin(self._finish(copy))

    def _drop_pidfd(self, app: str, pidfd: int) -> None:
        if self._pidfds.get(app) == pidfd:
            del self._pidfds[app]
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)

    async def _finish(self, copy: Copy) -> None:
        """The first process is gone: ask how it ended and say so, once."""
        outcome: Outcome = None, "ended; the docker daemon did not say how"
        for _ in range(_LOOKS_FOR_CODE):
            try:
                ended = await self._calls.call(lambda it: it.look_up(copy.container))
            except NoContainerError:
                outcome = outcome_of(None)
                break
            except ContainerError:
                break
            if not ended.is_alive:
                outcome = outcome_of(ended)
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        self._tell(copy, outcome)

    def _tell(self, copy: Copy, outcome: Outcome) -> None:
        if copy.has_ended or self._copies.get(copy.app) is not copy:
            return
        copy.has_ended = True
        pidfd = self._pidfds.get(copy.app)
        if pidfd is not None:
            self._drop_pidfd(copy.app, pidfd)
        self._write_book()
        self.on_exit(copy.app, copy.generation, *outcome)

    async def _look(self) -> None:
        """Compare all containers with what we know: ends that were missed, kills that failed, strangers."""
        before = {copy.container for copy in self._copies.values()}
        try:
            seen = {
                it.id: it for it in await self._calls.call(lambda it: it.list_labelled(self._place.labels))
            }
        except ContainerError:
            return
        for copy in list(self._copies.values()):
            # What was made meanwhile is not in the list, and no stranger either.
            if copy.has_ended or copy.container not in before or not copy.container:
                continue
            there = seen.get(copy.container)
            if there is None or not there.is_alive:
                self._tell(copy, outcome_of(there))
            elif copy.condemned:
                await self.kill(copy.app, copy.generation)
        known = {copy.container for copy in self._copies.values()}
        making = {(copy.app, copy.generation) for copy in self._copies.values() if not copy.container}
        for container in seen.values():
            if container.id not in known and self._place.epoch_of(container) not in making:
                with contextlib.suppress(ContainerError):
                    await self._remove(container.id)

    def _look_soon(self, *, at_once: bool = False) -> None:
        """Look until each living copy is watched by its process and none is to be killed."""
        if self._looking is None or self._looking.done():
            self._looking = self._begin(self._look_on(0.0 if at_once else self._look_every_s))

    async def _look_on(self, pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            await self._look()
            pause_s = self._look_every_s
            if not any(
                copy.condemned or copy.app not in self._pidfds
                for copy in self._copies.values()
                if not copy.has_ended
            ):
                return

    async def _remove(self, container: str) -> None:
        await self._calls.call(lambda it: it.remove(container))

    def _begin(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _write_book(self) -> None:
        write_atomic(self._book, msgspec.json.encode(list(self._copies.values())))

    def _log_of(self, app: str) -> Path:
        return self._directory / "logs" / f"{app}.log"

    def _work_of(self, app: str) -> Path:
        return self._directory / "work" / app

    def _append_log(self, app: str, lines: bytes) -> None:
        log = open_log(self._log_of(app))
        try:
            os.write(log, lines)
        finally:
            os.close(log)


def _found(copy: Copy, container: Container) -> Found:
    if not copy.has_ended:
        return Found(copy.app, copy.generation, "alive", pid=copy.pid)
    code, reason = outcome_of(container)
    return Found(copy.app, copy.generation, "dead", exit_code=code, reason=reason)
