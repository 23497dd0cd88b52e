"""`apps exec` at the agent's endpoint: who may, and the talk with the client. Shell of the agents.

1. Without a token file nobody may. Whoever knows the token may run anything that the agent's user may, so it is asked
   for before anything else, and compared in constant time.
2. The client's end ends the command: when its connection closes, the command and what it started are killed.
3. A command that does not read its input, or a client that does not read its output, blocks only itself.
"""

import asyncio
import hmac
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from agents.driver import StartError
from agents.execution import Execution
from agents.secrets import read_secret
from sdk.contract import frames
from sdk.contract.frames import Exit, FrameError, Start, Terminal, encode_frame, read_frame

log = logging.getLogger("watchkeep.exec")

#: Commands at once; each takes a connection and two or three pipes.
COMMANDS_MAX = 16
#: The client has the command ready when it connects.
START_WITHIN_S = 5.0
#: No command runs longer: whoever needs a day needs an app.
WITHIN_MAX_S = 86_400.0
#: A client whose machine is gone says nothing any more: it is asked after 30 s, and given up after three more tries.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}

#: App, command and the terminal that it is to have: what runs; StartError if that cannot be.
Execute = Callable[[str, list[str], Terminal | None], Awaitable[Execution]]


class ExecDoor:
    """Lets those in who know the token."""

    def __init__(self, token: Path | None, execute: Execute) -> None:
        """Ask for what stands in the file `token`; None: let nobody in."""
        self._token = token
        self._execute = execute
        self._running = 0

    def refusal(self, authorization: str) -> tuple[int, str]:
        """Status and sentence if somebody with this header may not come in; 0 if they may."""
        if self._token is None:
            return 403, "this node runs no commands: it was given no token"
        try:
            token = read_secret(self._token.parent, self._token.name)
        except StartError as error:
            return 403, f"this node runs no commands: {error}"
        given = authorization.removeprefix("Bearer ").encode(errors="surrogateescape")
        if not token or not hmac.compare_digest(given, token.encode()):
            return 401, "the token is not this node's"
        if self._running >= COMMANDS_MAX:
            return 503, f"{COMMANDS_MAX} commands run here already"
        return 0, ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk with a client that was let in, until the command or the client ends."""
        self._running += 1
        try:
            _keep_alive(writer)
            talk = _Talk(reader, writer)
            try:
                start = await _read_start(reader)
                execution = await self._execute(start.app, start.command, start.terminal)
            except (FrameError, StartError) as error:
                await talk.send(frames.FAILED, str(error).encode()[: frames.FRAME_BYTES_MAX])
                return
            log.info("exec in %s: %s", start.app, start.command[0])
            try:
                await talk.send(frames.EXIT, msgspec.json.encode(await talk.attend(execution, start)))
            finally:
                execution.kill()
        except (OSError, EOFError, FrameError, TimeoutError):
            return
        finally:
            self._running -= 1


async def _read_start(reader: asyncio.StreamReader) -> Start:
    async with asyncio.timeout(START_WITHIN_S):
        kind, content = await read_frame(reader.readexactly)
    try:
        start = msgspec.json.decode(content, type=Start)
    except (msgspec.DecodeError, UnicodeDecodeError):
        start = None
    if kind != frames.START or start is None or not start.command or not start.command[0]:
        raise FrameError("the first frame names no app and command")
    return start


class _Talk:
    """One command and its client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        #: What the command is to read; None is the end.
        self._stdin: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0
        #: One at a time waits for the client to read.
        self._sending = asyncio.Lock()

    async def send(self, kind: bytes, content: bytes) -> None:
        """One frame to the client; waits while it does not read."""
        async with self._sending:
            self._writer.write(encode_frame(kind, content))
            await self._writer.drain()

    async def attend(self, execution: Execution, start: Start) -> Exit:
        """How the command ended; EOFError or OSError if the client ended before."""
        pump = asyncio.ensure_future(execution.pump(self.send))
        others = [
            asyncio.ensure_future(self._listen(execution)),
            asyncio.ensure_future(self._give(execution)),
        ]
        limit_s = min(start.timeout_ms / 1_000 or WITHIN_MAX_S, WITHIN_MAX_S)
        try:
            async with asyncio.timeout(limit_s):
                done, _ = await asyncio.wait([pump, others[0]], return_when=asyncio.FIRST_COMPLETED)
                if pump not in done:
                    others[0].result()
                return Exit(await pump)
        except TimeoutError:
            return Exit(-signal.SIGKILL, "timeout")
        finally:
            execution.kill()
            for task in (pump, *others):
                task.cancel()
            await asyncio.gather(pump, *others, return_exceptions=True)

    async def _listen(self, execution: Execution) -> None:
        """Take what the client says, until it closes: never waits for the command."""
        while True:
            kind, content = await read_frame(self._reader.readexactly)
            if kind == frames.STDIN:
                self._waiting += len(content)
                if self._waiting > frames.STDIN_WINDOW:
                    raise FrameError("more input than was allowed")
                self._stdin.put_nowait(content)
            elif kind == frames.STDIN_END:
                self._stdin.put_nowait(None)
            elif kind == frames.SIGNAL and content.isdigit() and int(content) in _SIGNALS:
                await execution.signal(int(content))
            elif kind == frames.RESIZE:
                await execution.resize(*frames.decode_size(content))
            else:
                raise FrameError(f"no frame of a client: {kind!r}")

    async def _give(self, execution: Execution) -> None:
        """Hand the input on as fast as the command reads."""
        while (content := await self._stdin.get()) is not None:
            await execution.write(content)
            self._waiting -= len(content)
            await self.send(frames.TAKEN, str(len(content)).encode())
        await execution.end_input()


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
