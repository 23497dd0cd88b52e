"""Apps as processes on this machine. Shell of the agents.

An app runs in the process group of its agent, so that whoever destroys the node destroys its apps. Its first
word `python` or `python3` means the interpreter of the platform (`sys.executable`), which finds `sdk`;
everything else is looked up as usual. Never a shell. It starts in the project's root, or with files of its own in a
directory made for them, which each copy finds as new; output is appended to a log in the node's directory.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from agents import procfs
from agents.disk import open_log, read_record, rotate_log, tail_of, write_atomic
from agents.driver import OnExit, StartError
from agents.execution import ProcessExecution, start_process
from agents.limits import Limits
from agents.parting import ends_with_us
from agents.spawner import ROOT, starting_environment
from agents.state import Found
from agents.terminals import start_in_terminal
from agents.work_files import remove_files, write_files
from sdk.contract.frames import Terminal
from sdk.contract.orders import AppOrder

#: Bound of waiting for killed processes to go. Source: DESIGN 8; what is left then hangs in the kernel.
KILL_WITHIN_S = 2.0
#: Between two looks at what was killed.
_LOOK_AGAIN_S = 0.005


class Copy(msgspec.Struct):
    """A process of ours, as the book on disk has it."""

    app: str
    generation: int
    pid: int
    #: Start time; with the pid it says whether the process is still the same.
    start: int
    #: Limit of its address space where there are no control groups; 0: none.
    address_mib: int = 0


class _Live(msgspec.Struct):
    """A copy that is watched."""

    copy: Copy
    pidfd: int


#: Modules of the original interface, which apps import by their bare names.
ORIGINAL = ROOT / "sdk" / "original"


class ProcessDriver:
    """Runs apps as child processes."""

    name = "process"

    def __init__(
        self,
        directory: Path,
        *,
        node: str,
        agent_url: str,
        limits: Limits,
        platform: Mapping[str, str] | None = None,
        outlives_agent: bool = True,
    ) -> None:
        """Keep books and logs in `directory`; apps find their platform by the variables of `platform`.

        Without `outlives_agent` an app that must not run unheard is killed when this process ends.
        """
        self.on_exit: OnExit = lambda *_: None
        self._directory = directory
        self._node = node
        self._agent_url = agent_url
        self._platform = dict(platform or {})
        self._outlives_agent = outlives_agent
        self._book = directory / "apps.json"
        self._limits = limits
        self._live: dict[str, _Live] = {}
        #: Ended copies stay in the book until forgotten, so that a restarted agent still knows them.
        self._ended: dict[str, Copy] = {}
        self._sweeps: set[asyncio.Task[None]] = set()

    async def adopt(self) -> list[Found]:
        """What the book on disk names: by pid and start time alive or dead."""
        found = []
        for copy in read_record(self._book, list[Copy], []):
            is_alive = procfs.is_alive(copy.pid, copy.start) and self._watch(copy)
            if not is_alive:
                self._ended[copy.app] = copy
                await self._end_rest(copy)
            found.append(Found(copy.app, copy.generation, "alive" if is_alive else "dead", pid=copy.pid))
        self._tidy_limits()
        return found

    async def start(self, order: AppOrder) -> int:
        """Spawn the app."""
        live = self._live.get(order.app)
        if live is not None:
            if live.copy.generation == order.generation:
                return live.copy.pid
            raise StartError(f"generation {live.copy.generation} still runs")
        log = open_log(self._log_of(order.app))
        try:
            with self._limits.begin(order) as enter:
                # No wait and no context manager: the pidfd tells of the end.
                process = subprocess.Popen(
                    self._argv(order.command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._working_directory(order),
                    env=self._environment(order),
                    # Two or three system calls, with everything that they need made before the fork.
                    preexec_fn=ends_with_us(enter) if self._ends_with_us(order) else enter,  # noqa: PLW1509
                )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            await self._limits.end(order.app, order.generation)
            raise StartError(f"cannot start {order.command[0]!r}: {error}") from None
        finally:
            os.close(log)
        process.returncode = 0  # Ours to reap, not its destructor's to complain about.
        address_mib = order.memory_limit_mib if self._limits.is_address_space else 0
        copy = Copy(order.app, order.generation, process.pid, procfs.start_of(process.pid), address_mib)
        self._ended.pop(order.app, None)
        self._watch(copy)
        self._write_book()
        return process.pid

    async def stop(self, app: str, generation: int) -> None:
        """SIGTERM to the process itself; what it does with its children is its own matter."""
        live = self._live.get(app)
        if live is not None and live.copy.generation == generation:
            self._signal(live, signal.SIGTERM)
            # A stopped process takes no SIGTERM before it is continued.
            self._signal(live, signal.SIGCONT)

    async def kill(self, app: str, generation: int) -> None:
        """SIGKILL to the process and all below it."""
        live = self._live.get(app)
        if live is None or live.copy.generation != generation:
            return
        below = procfs.descendants_of(live.copy.pid)
        self._signal(live, signal.SIGKILL)
        for pid in below:
            procfs.send_signal(pid, signal.SIGKILL)

    async def forget(self, app: str, generation: int) -> None:
        """Strike an ended copy from the book."""
        ended = self._ended.get(app)
        if ended is not None and ended.generation == generation:
            del self._ended[app]
            self._write_book()
            remove_files(self._work_of(app))

    async def tidy(self) -> None:
        """Set full logs aside."""
        for log in (self._directory / "logs").glob("*.log"):
            rotate_log(log)
        self._tidy_limits()

    async def log_tail(self, app: str, lines: int) -> bytes:
        """The end of the app's log."""
        return tail_of(self._log_of(app), lines)

    def address_of(self, _app: str, _generation: int) -> str:
        """Always the node's own."""
        return ""

    async def execute(
        self, app: str, generation: int, command: list[str], terminal: Terminal | None = None
    ) -> ProcessExecution | None:
        """Beside the app: in its directory, with its environment, within its limits, and gone when it is."""
        live = self._live.get(app)
        if live is None or live.copy.generation != generation:
            return None
        env = procfs.environment_of(live.copy.pid)
        if not self._marks(app, generation).items() <= env.items():
            raise StartError(f"the environment of {app} cannot be read: it has written over it")
        work = self._work_of(app)
        enter, doors = self._limits.join(app, generation, live.copy.address_mib)
        try:
            directory = work if work.is_dir() else ROOT
            argv = self._argv(command)
            if terminal is not None:
                return await start_in_terminal(argv, terminal, directory=directory, env=env, enter=enter)
            return await start_process(argv, directory=directory, env=env, enter=enter)
        finally:
            for door in doors:
                os.close(door)

    def _ends_with_us(self, order: AppOrder) -> bool:
        return order.on_isolation == "stop" and not self._outlives_agent

    def _argv(self, command: list[str]) -> list[str]:
        is_python = command[0] in ("python", "python3")
        return [sys.executable, *command[1:]] if is_python else command

    def _working_directory(self, order: AppOrder) -> Path:
        """Where the copy starts; its files are there and nothing that an earlier one left."""
        if not order.files:
            return ROOT
        directory = self._work_of(order.app)
        write_files(directory, order.files)
        return directory

    def _environment(self, order: AppOrder) -> dict[str, str]:
        path = os.environ.get("PYTHONPATH")
        return {
            **starting_environment(),
            "PYTHONUNBUFFERED": "1",
            **self._platform,
            **order.env,
            "PYTHONPATH": ":".join(filter(None, [str(ROOT), str(ORIGINAL), path])),
            "WATCHKEEP_AGENT": self._agent_url,
            "WATCHKEEP_NODE_ID": self._node,
            **self._marks(order.app, order.generation),
        }

    def _marks(self, app: str, generation: int) -> dict[str, str]:
        """The variables by which a copy's processes are known, wherever they hang in the tree."""
        return {"WATCHKEEP_APP_ID": app, "WATCHKEEP_GENERATION": str(generation)}

    def _work_of(self, app: str) -> Path:
        return self._log_of(app).parent.parent / "work" / app

    def _log_of(self, app: str) -> Path:
        if "/" in app or app.startswith("."):
            raise StartError(f"{app!r:.80} is no name for a log file")
        return self._directory / "logs" / f"{app}.log"

    def _write_book(self) -> None:
        copies = [live.copy for live in self._live.values()] + list(self._ended.values())
        write_atomic(self._book, msgspec.json.encode(copies))

    def _watch(self, copy: Copy) -> bool:
        """Hear of the process's end; False if it has ended already."""
        try:
            pidfd = os.pidfd_open(copy.pid)
        except ProcessLookupError:
            return False
        self._live[copy.app] = _Live(copy, pidfd)
        asyncio.get_running_loop().add_reader(pidfd, self._on_end, copy)
        return True

    def _signal(self, live: _Live, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(live.pidfd, number)
        except ProcessLookupError:
            return

    def _on_end(self, copy: Copy) -> None:
        """The process has ended: sweep up its descendants, then say so."""
        live = self._live.pop(copy.app)
        asyncio.get_running_loop().remove_reader(live.pidfd)
        os.close(live.pidfd)
        code = procfs.reap(copy.pid)
        self._ended[copy.app] = copy
        sweep = asyncio.ensure_future(self._finish(copy, code))
        self._sweeps.add(sweep)
        sweep.add_done_callback(self._sweeps.discard)

    async def _finish(self, copy: Copy, code: int | None) -> None:
        reason = self._limits.how_it_ended(copy.app, copy.generation, code, _reason(code))
        if copy.address_mib and code:
            reason += f"; its address space was limited to {copy.address_mib} MiB"
        await self._end_rest(copy)
        self.on_exit(copy.app, copy.generation, code, reason)

    def _tidy_limits(self) -> None:
        ending = [(copy.app, copy.generation) for copy in self._ended.values()] if self._sweeps else []
        self._limits.tidy([(live.copy.app, live.copy.generation) for live in self._live.values()] + ending)

    async def _end_rest(self, copy: Copy) -> None:
        """Kill what the copy left behind; bounded."""
        await self._limits.end(copy.app, copy.generation)
        marks = {**self._marks(copy.app, copy.generation), "WATCHKEEP_NODE_ID": self._node}
        loop = asyncio.get_running_loop()
        until_s = loop.time() + KILL_WITHIN_S
        # Nothing that a copy left is older than it; the marks of older processes, most of a machine, are not read.
        while left := procfs.select(lambda it: it.start >= copy.start and procfs.has_marks(it.pid, marks)):
            for pid in left:
                procfs.send_signal(pid, signal.SIGKILL)
            if loop.time() > until_s:
                return
            await asyncio.sleep(_LOOK_AGAIN_S)


def _reason(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "ended; nobody was there to see how"
    if code < 0:
        return f"killed by signal {-code}"
    return f"exited with code {code}"
