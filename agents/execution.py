"""Commands beside an app: what a driver hands out, and commands that are processes of this machine. Shell."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any, Protocol

from agents import procfs
from agents.driver import StartError
from agents.limits import Enter
from sdk.contract.frames import STDERR, STDOUT

#: What is read and sent at once.
CHUNK_BYTES = 32 << 10
#: Output that a child of the command may still write once the command itself has ended.
_REST_WITHIN_S = 1.0

#: Exit code of a command whose own is not known.
_UNKNOWN = 255

#: Kind of frame and content: hands output on, and waits while nobody takes it.
Send = Callable[[bytes, bytes], Awaitable[None]]


class Execution(Protocol):
    """A command that runs."""

    async def pump(self, send: Send) -> int:
        """Hand its output on until it ends; its exit code, minus the signal that ended it."""
        ...

    async def write(self, content: bytes) -> None:
        """Give it this to read; a command that reads no more does not mind."""
        ...

    async def end_input(self) -> None:
        """There is no more for it to read."""
        ...

    async def signal(self, number: int) -> None:
        """Signal it and what it started."""
        ...

    async def resize(self, rows: int, columns: int) -> None:
        """Its terminal has this size now; without one nothing happens."""
        ...

    def kill(self) -> None:
        """End it and what it started, now; harmless if it has ended."""
        ...


class ProcessExecution:
    """A command that is a process, in a group of its own."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._has_ended = False
        #: Done when it has ended and was reaped; goes on also when nobody wants to know any more.
        self._ended = asyncio.ensure_future(self._wait())
        self._outputs: list[tuple[bytes, asyncio.StreamReader]] = []
        self._input: asyncio.StreamWriter | None = None
        self._transports: list[asyncio.BaseTransport] = []
        #: Pieces of output handed on, and those that wait for whoever takes them.
        self._handed = 0
        self._handing = 0

    async def open(self, process: "subprocess.Popen[bytes]") -> None:
        """Take over the pipes of the process."""
        loop = asyncio.get_running_loop()
        for kind, pipe in ((STDOUT, process.stdout), (STDERR, process.stderr)):
            reader = asyncio.StreamReader()
            self._outputs.append((kind, reader))
            transport, _ = await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, reader), pipe)
            self._transports.append(transport)
        flow = partial(asyncio.StreamReaderProtocol, asyncio.StreamReader())
        write_transport, protocol = await loop.connect_write_pipe(flow, process.stdin)
        self._transports.append(write_transport)
        self._input = asyncio.StreamWriter(write_transport, protocol, None, loop)

    async def pump(self, send: Send) -> int:
        """Both outputs at once; then what is left of them, unless a child keeps them open and says nothing."""
        ended = self._ended
        copies = {asyncio.ensure_future(self._copy(reader, kind, send)) for kind, reader in self._outputs}
        pending: set[asyncio.Future[Any]] = {ended, *copies}
        try:
            while not ended.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                _raise_faults(done)
            while pending:
                before = self._handed
                done, pending = await asyncio.wait(pending, timeout=_REST_WITHIN_S)
                _raise_faults(done)
                if not self._handing and self._handed == before:
                    break
            return ended.result()
        finally:
            for copy in copies:
                copy.cancel()

    async def write(self, content: bytes) -> None:
        """To its standard input."""
        assert self._input is not None
        try:
            self._input.write(content)
            await self._input.drain()
        except (BrokenPipeError, ConnectionResetError):
            return

    async def end_input(self) -> None:
        """Close its standard input."""
        assert self._input is not None
        self._input.close()

    async def signal(self, number: int) -> None:
        """To its group, as a terminal does."""
        self._signal_group(number)

    async def resize(self, rows: int, columns: int) -> None:
        """Pipes have no size."""

    def kill(self) -> None:
        """The whole group; and let go of the pipes."""
        self._signal_group(signal.SIGKILL)
        for transport in self._transports:
            transport.close()

    def _signal_group(self, number: int) -> None:
        if not self._has_ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)

    async def _wait(self) -> int:
        """Its exit code, once it has ended."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        # Not reaped by anybody else, so the pid is still its own.
        pidfd = os.pidfd_open(self._pid)
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
        self._has_ended = True
        code = procfs.reap(self._pid)
        return code if code is not None else _UNKNOWN

    async def _copy(self, source: asyncio.StreamReader, kind: bytes, send: Send) -> None:
        while content := await self._read(source):
            self._handing += 1
            await send(kind, content)
            self._handing -= 1
            self._handed += 1

    async def _read(self, source: asyncio.StreamReader) -> bytes:
        """Some output, empty at its end."""
        return await source.read(CHUNK_BYTES)


async def start_process(
    command: list[str], *, directory: Path, env: dict[str, str], enter: Enter
) -> ProcessExecution:
    """Start a command; `enter` runs between fork and exec.

    Raises:
        StartError: it cannot be started.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            bufsize=0,
            cwd=directory,
            env=env,
            # Of the agent's session, so it goes with the node; a group of its own takes the signals.
            process_group=0,
            preexec_fn=enter,  # noqa: PLW1509 - as in the process driver
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise StartError(f"cannot start {command[0]!r:.200}: {error}") from None
    process.returncode = 0  # Ours to reap, not its destructor's to complain about.
    execution = ProcessExecution(process.pid)
    await execution.open(process)
    return execution


def _raise_faults(done: Iterable[asyncio.Future[Any]]) -> None:
    for one in done:
        one.result()
