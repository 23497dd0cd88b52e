"""Commands inside a container, through the docker daemon. Shell; part of the docker driver."""

import asyncio
import contextlib
import signal
import socket
import struct

from agents import procfs
from agents.containers import ContainerError
from agents.docker_calls import DockerCalls
from agents.execution import CHUNK_BYTES, Send
from agents.terminals import END_OF_INPUT
from sdk.contract.frames import STDERR, STDOUT, Terminal

#: Looks for the exit code of a command whose outputs have ended; the daemon is a few ms behind.
_LOOKS_FOR_CODE = 50
_LOOK_AGAIN_S = 0.02
#: Docker's frames: stream, three bytes of nothing, length.
_HEAD = struct.Struct("!BxxxI")
_KINDS = {1: STDOUT, 2: STDERR}


class DockerExecution:
    """A command that docker runs."""

    def __init__(
        self,
        calls: DockerCalls,
        command: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        early: bytes,
        *,
        has_terminal: bool = False,
    ) -> None:
        self._calls = calls
        self._has_terminal = has_terminal
        self._command = command
        self._reader = reader
        self._writer = writer
        #: Read before there was a reader.
        self._early = early
        self._pid = 0
        self._has_ended = False
        self._killing: asyncio.Task[None] | None = None

    async def pump(self, send: Send) -> int:
        """Both outputs, which come as one stream."""
        if self._has_terminal:
            return await self._pump_terminal(send)
        try:
            while True:
                stream, length = _HEAD.unpack(await self._read(_HEAD.size))
                while length:
                    content = await self._read(min(length, CHUNK_BYTES))
                    length -= len(content)
                    await send(_KINDS.get(stream, STDOUT), content)
        except EOFError:
            return await self._end()

    async def _pump_terminal(self, send: Send) -> int:
        """A terminal has one output, which comes without frames."""
        content, self._early = self._early, b""
        with contextlib.suppress(ConnectionResetError):
            while content := content or await self._reader.read(CHUNK_BYTES):
                await send(STDOUT, content[:CHUNK_BYTES])
                content = content[CHUNK_BYTES:]
        return await self._end()

    async def _end(self) -> int:
        """Its exit code, once its outputs have ended."""
        code = await self._exit_code()
        self._has_ended = True
        return 128 - code if 128 < code <= 128 + signal.SIGRTMAX else code  # noqa: PLR2004 - docker's form

    async def write(self, content: bytes) -> None:
        """To its standard input."""
        try:
            self._writer.write(content)
            await self._writer.drain()
        except (BrokenPipeError, ConnectionResetError):
            return

    async def end_input(self) -> None:
        """Close its standard input; at a terminal as who types Ctrl-D on an empty line."""
        if self._has_terminal:
            await self.write(END_OF_INPUT)
        elif self._writer.can_write_eof():
            self._writer.write_eof()

    async def resize(self, rows: int, columns: int) -> None:
        """Through the daemon; one that does not answer leaves it as it is."""
        if self._has_terminal:
            with contextlib.suppress(ContainerError):
                await self._calls.call(lambda it: it.resize_command(self._command, rows, columns))

    async def signal(self, number: int) -> None:
        """To it and all below it; where its processes are not ours to signal, nothing happens."""
        try:
            pid, _ = await self._calls.call(lambda it: it.look_up_command(self._command))
        except ContainerError:
            return
        if pid and not self._has_ended:
            for one in (pid, *procfs.descendants_of(pid)):
                procfs.send_signal(one, signal.Signals(number))

    def kill(self) -> None:
        """As far as its processes are ours to kill; the rest ends with its input or with its container."""
        self._writer.transport.abort()
        if not self._has_ended and self._killing is None:
            self._killing = asyncio.ensure_future(self.signal(signal.SIGKILL))

    async def _read(self, size: int) -> bytes:
        if self._early:
            content, self._early = self._early[:size], self._early[size:]
            return content + (
                await self._reader.readexactly(size - len(content)) if len(content) < size else b""
            )
        return await self._reader.readexactly(size)

    async def _exit_code(self) -> int:
        """What the daemon says; 255 if it does not."""
        for _ in range(_LOOKS_FOR_CODE):
            try:
                _, code = await self._calls.call(lambda it: it.look_up_command(self._command))
            except ContainerError:
                break
            if code is not None:
                return code
            await asyncio.sleep(_LOOK_AGAIN_S)
        return 255


async def start_in_container(
    calls: DockerCalls, container: str, command: list[str], terminal: Terminal | None = None
) -> DockerExecution:
    """Start a command in a container; ContainerError if the daemon refuses."""
    made: tuple[str, socket.socket, bytes] = await calls.call(
        lambda it: it.execute(container, command, terminal)
    )
    reader, writer = await asyncio.open_connection(sock=made[1])
    return DockerExecution(calls, made[0], reader, writer, made[2], has_terminal=terminal is not None)
