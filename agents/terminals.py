"""Commands beside an app that have a terminal of their own, as processes of this machine. Shell.

The command leads a session, as a login does: only so the keys for interrupt, end and stop work, and jobs can be moved
between foreground and background. That session is not the agent's, so what ends a node does not take it by its group:
it goes when the agent's end of the terminal closes (SIGHUP), and with the marks of its app.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from functools import partial
from pathlib import Path

from agents import procfs
from agents.driver import StartError
from agents.execution import ProcessExecution
from agents.limits import Enter
from sdk.contract.frames import STDOUT, Terminal

#: Ctrl-D: the end of what a terminal gives to read.
END_OF_INPUT = b"\x04"


class TerminalExecution(ProcessExecution):
    """A command that is the leader of a session with a terminal, of which we hold the other end."""

    def __init__(self, pid: int, master: int) -> None:
        super().__init__(pid)
        self._master = master

    async def open_terminal(self) -> None:
        """Take over our end."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        self._outputs.append((STDOUT, reader))
        # A transport closes what it was given, so each has an end of its own.
        from_it = os.fdopen(os.dup(self._master), "rb", buffering=0)
        to_it = os.fdopen(os.dup(self._master), "wb", buffering=0)
        transport, _ = await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, reader), from_it)
        flow = partial(asyncio.StreamReaderProtocol, asyncio.StreamReader())
        write_transport, protocol = await loop.connect_write_pipe(flow, to_it)
        self._transports += [transport, write_transport]
        self._input = asyncio.StreamWriter(write_transport, protocol, None, loop)

    async def end_input(self) -> None:
        """As who types Ctrl-D on an empty line."""
        await self.write(END_OF_INPUT)

    async def resize(self, rows: int, columns: int) -> None:
        """Say so to whoever is in the foreground."""
        if self._master >= 0:
            set_size(self._master, rows, columns)

    def kill(self) -> None:
        """All of its session, whatever groups they are in; and close the terminal."""
        if not self._has_ended or self._master >= 0:
            for pid in procfs.select(lambda it: it.session == self._pid):
                procfs.send_signal(pid, signal.SIGKILL)
        super().kill()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    async def _read(self, source: asyncio.StreamReader) -> bytes:
        try:
            return await super()._read(source)
        except OSError as error:
            # So a terminal says that nobody has its other end open any more.
            if error.errno != errno.EIO:
                raise
            return b""


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Set the size of a terminal; one that is gone has none."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def start_in_terminal(
    command: list[str], terminal: Terminal, *, directory: Path, env: dict[str, str], enter: Enter
) -> TerminalExecution:
    """Start a command in a terminal of this size and kind; `enter` runs between fork and exec.

    Raises:
        StartError: it cannot be started.
    """
    try:
        master, slave = pty.openpty()
    except OSError as error:
        raise StartError(f"no terminal can be had: {error.strerror or error}") from None
    try:
        set_size(slave, terminal.rows, terminal.columns)
        process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=directory,
            env={**env, "TERM": terminal.kind} if terminal.kind else env,
            start_new_session=True,
            preexec_fn=partial(_take_terminal, enter),  # noqa: PLW1509 - as in the process driver
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        os.close(master)
        raise StartError(f"cannot start {command[0]!r:.200}: {error}") from None
    finally:
        os.close(slave)
    process.returncode = 0  # Ours to reap, not its destructor's to complain about.
    execution = TerminalExecution(process.pid, master)
    await execution.open_terminal()
    return execution


def _take_terminal(enter: Enter) -> None:
    """Between fork and exec, in the new session: standard input becomes its terminal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if enter is not None:
        enter()
