"""One supervised process: what it is, how it is started, watched, started again and stopped. Part of the shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from streams.local.processes import ProcessId, identify, send_group

#: First pause before a child is started again, doubling to the largest. One second, because a worker that was
#: killed shall be back before anyone misses it; at most thirty, so that a broken one costs next to nothing.
BACKOFF_S: Final = 1.0
BACKOFF_MAX_S: Final = 30.0

#: A run this long wipes the slate: whatever made it fail before is over.
GOOD_RUN_S: Final = 60.0

#: A log larger than this is put aside when its process starts, and three older ones are kept.
LOG_BYTES_MAX: Final = 10 << 20
LOGS_KEPT: Final = 3

#: How often a readiness check is asked.
_POLL_S: Final = 0.1

ReadyCheck = Callable[[], Awaitable[bool]]


class ChildSpec(NamedTuple):
    """What to run and how to treat it."""

    #: Short and unique; also the name of its log file.
    name: str
    argv: list[str]
    #: Children of a lower stage are started, and ready, before; they are stopped after.
    stage: int
    #: Put over the supervisor's environment.
    env: Mapping[str, str] = {}
    cwd: str | None = None
    #: Used from then on if the child ended before it was ready.
    fallback_argv: list[str] | None = None
    #: A step that ends by itself: its exit code 0 is what the next stage waits for.
    once: bool = False
    #: Address that must answer as Kafka before the child counts as ready.
    ready_kafka: str | None = None
    ready_timeout_s: float = 60.0
    #: Time to end after SIGTERM; then it is killed.
    grace_s: float = 10.0
    #: Shown on the screen, for example a port.
    note: str = ""


class StartError(Exception):
    """A child did not get ready; the message is one plain sentence."""


class Child:
    """One process under supervision, over all its lives."""

    def __init__(
        self, spec: ChildSpec, *, log_dir: Path, is_ready: ReadyCheck | None, changed: Callable[[], None]
    ) -> None:
        self.spec = spec
        #: waiting, starting, running, restarting, done, failed, stopping, stopped.
        self.state = "waiting"
        self.restarts = 0
        self.process: ProcessId | None = None
        #: When the present state began, for people.
        self.since = time.time()
        self.log_file = log_dir / f"{spec.name}.log"
        self._is_ready = is_ready
        self._changed = changed
        self._argv = spec.argv
        self._backoff_s = BACKOFF_S
        self._stopping = False
        self._ended = asyncio.Event()
        self._popen: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the process and return once it is ready (a step: once it is done).

        Raises:
            StartError: if that does not happen; the process is then gone.
        """
        try:
            await self._start_once()
        except StartError:
            if self._stopping or self.spec.fallback_argv is None or self._argv == self.spec.fallback_argv:
                self._set("failed")
                raise
            self._argv = self.spec.fallback_argv
            await self._start_once()

    async def supervise(self) -> None:
        """Start the process again whenever it ends, until cancelled; returns at once for a step."""
        while not self.spec.once:
            began = time.monotonic()
            await self._ended.wait()
            # Whatever the dead one started in its group must not run beside the next.
            self._end_group()
            if time.monotonic() - began >= GOOD_RUN_S:
                self._backoff_s = BACKOFF_S
            self._set("restarting")
            await asyncio.sleep(self._backoff_s)
            self._backoff_s = min(self._backoff_s * 2, BACKOFF_MAX_S)
            self.restarts += 1
            # One that does not get ready ends and comes round again.
            with contextlib.suppress(StartError):
                await self.start()

    async def stop(self, *, force: bool = False) -> None:
        """Ask the process to end, wait for its grace, then kill it and its group."""
        self._stopping = True
        if self._popen is None or self._ended.is_set():
            self._end_group()
            self._set("done" if self.state == "done" else "stopped")
            return
        self._set("stopping")
        if not force:
            self._signal(signal.SIGTERM)
            # One that was frozen cannot hear the other signal before this one.
            self._signal(signal.SIGCONT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), self.spec.grace_s)
        self._end_group()
        await self._ended.wait()
        self._set("stopped")

    def kill(self) -> None:
        """End the process and its group at once."""
        self._end_group()

    def last_line(self) -> str:
        """Return the last thing the process said, for an error message."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, self.log_file.stat().st_size - 4096))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip() if lines else ""

    async def _start_once(self) -> None:
        self._set("starting")
        self._spawn()
        if self.spec.once:
            await self._await_step()
        elif self._is_ready is not None:
            await self._await_ready(self._is_ready)
        self._set("done" if self.spec.once else "running")

    async def _await_step(self) -> None:
        try:
            await asyncio.wait_for(self._ended.wait(), self.spec.ready_timeout_s)
        except TimeoutError:
            await self._fail(f"{self.spec.name} took longer than {self.spec.ready_timeout_s:.0f} s")
        if self._popen is not None and self._popen.returncode != 0:
            said = self.last_line() or f"exit code {self._popen.returncode}"
            raise StartError(f"{self.spec.name} failed: {said.rstrip('.')}.")

    async def _await_ready(self, is_ready: ReadyCheck) -> None:
        deadline = time.monotonic() + self.spec.ready_timeout_s
        while not await is_ready():
            if self._ended.is_set():
                raise StartError(f"{self.spec.name} ended before it was ready: {self.last_line()}")
            if time.monotonic() > deadline:
                await self._fail(f"{self.spec.name} was not ready after {self.spec.ready_timeout_s:.0f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _POLL_S)

    async def _fail(self, why: str) -> None:
        self._end_group()
        await self._ended.wait()
        raise StartError(f"{why}; see its log.")

    def _spawn(self) -> None:
        rotate_log(self.log_file)
        self._ended = ended = asyncio.Event()
        with self.log_file.open("ab") as log:
            # A session of its own: Ctrl-C in a terminal reaches the supervisor alone, which knows the order.
            popen = subprocess.Popen(
                self._argv,
                cwd=self.spec.cwd,
                env={**os.environ, **self.spec.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._popen = popen
        # Read before anything can collect it, so it is there even if the process has ended already.
        self.process = identify(popen.pid) or ProcessId(popen.pid, 0)
        handle = os.pidfd_open(popen.pid)
        loop = asyncio.get_running_loop()

        def collect() -> None:
            loop.remove_reader(handle)
            os.close(handle)
            popen.wait()
            ended.set()

        loop.add_reader(handle, collect)
        self._changed()

    def _signal(self, number: signal.Signals) -> None:
        if self._popen is not None and self._popen.returncode is None:
            os.kill(self._popen.pid, number)

    def _end_group(self) -> None:
        """Kill what is left of the child's process group, itself included."""
        if self._popen is None:
            return
        if self._popen.returncode is None:
            send_group(ProcessId(self._popen.pid, 0), signal.SIGKILL)
            return
        # The leader has just gone. As long as members are left the number is not given to anyone else;
        # asked once only, because later it might be.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen = None

    def _set(self, state: str) -> None:
        self.state = state
        self.since = time.time()
        self._changed()


def rotate_log(path: Path) -> None:
    """Put a log aside that has grown too large, and drop the oldest."""
    with contextlib.suppress(OSError):
        if path.stat().st_size <= LOG_BYTES_MAX:
            return
        for number in range(LOGS_KEPT - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        path.replace(path.with_name(f"{path.name}.1"))
