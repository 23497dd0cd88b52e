"""The agent's own HTTP/1.1 endpoint: beats of its apps, health, logs. Shell of the agents.

`POST /beats` with `[app, generation]`: 204, or 410 when that copy is not (any more) this node's.
`GET /health`, `GET /apps`, `GET /logs/<app>?tail=N`. `POST /exec` with the node's token becomes a connection of
another kind (`agents.exec_door`). Anything else is refused; garbage costs one connection.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import h11
import msgspec

from agents.exec_door import ExecDoor
from sdk.contract.frames import PROTOCOL

log = logging.getLogger("watchkeep.endpoint")

#: Connections at once: each app keeps one open, people a few.
CONNECTIONS_MAX = 256
#: Largest head and body of a request; ours are under 200 bytes.
HEAD_BYTES_MAX = 8 << 10
BODY_BYTES_MAX = 4 << 10
#: Patience with a half-sent request, and with an idle connection (apps beat every 5 s).
REQUEST_WITHIN_S = 5.0
IDLE_S = 60.0
CLOSE_WITHIN_S = 1.0
LOG_LINES_MAX = 5_000

_decode_beat = msgspec.json.Decoder(tuple[str, int]).decode
_encode = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """What goes back."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


class Answers(NamedTuple):
    """Where the endpoint gets its answers from."""

    take_beat: Callable[[str, int], bool]
    health: Callable[[], object]
    apps: Callable[[], object]
    log_tail: Callable[[str, int], Awaitable[bytes]]
    #: Who lets commands in; None: nobody.
    exec_door: ExecDoor | None = None


class Endpoint:
    """Listens on the node's ip and port."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()

    async def listen(self, ip: str, port: int) -> int:
        """Begin to listen, there too if it does elsewhere; the port (for port 0 the one found).

        Raises:
            OSError: the address is taken or not ours.
        """
        server = await asyncio.start_server(self._begin, ip, port, limit=HEAD_BYTES_MAX * 2)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        for server in self._servers:
            server.close()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=0.5)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        try:
            while await self._serve_one(connection, reader, writer):
                connection.start_next_cycle()
        except (OSError, TimeoutError, h11.LocalProtocolError):
            pass
        except h11.RemoteProtocolError as error:
            with contextlib.suppress(OSError, TimeoutError, h11.LocalProtocolError):
                await _reply(connection, writer, Answer(error.error_status_hint))
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await writer.wait_closed()
            # Whoever does not read our last words is not waited for.
            writer.transport.abort()

    async def _serve_one(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """One request and its answer; whether another may follow."""
        request = await _next_event(connection, reader, IDLE_S)
        if not isinstance(request, h11.Request):
            return False
        body = b""
        async with asyncio.timeout(REQUEST_WITHIN_S):
            while True:
                event = await _next_event(connection, reader, REQUEST_WITHIN_S)
                if isinstance(event, h11.EndOfMessage):
                    break
                if not isinstance(event, h11.Data):
                    return False
                body += event.data
                if len(body) > BODY_BYTES_MAX:
                    await _reply(connection, writer, Answer(413))
                    return False
        if (request.method, request.target) == (b"POST", b"/exec"):
            return await self._serve_exec(connection, request, reader, writer)
        await _reply(connection, writer, await self._answer(request.method, request.target, body))
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    async def _serve_exec(
        self,
        connection: h11.Connection,
        request: h11.Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Refuse, or hand the connection over until it ends."""
        headers = {name: value for name, value in request.headers if name in (b"authorization", b"upgrade")}
        door = self._answers.exec_door
        status, why = 403, "this node runs no commands"
        if door is not None:
            status, why = door.refusal(headers.get(b"authorization", b"").decode("latin-1"))
        if not status and headers.get(b"upgrade", b"").lower() != PROTOCOL.encode():
            status, why = 426, f"it takes a connection that is upgraded to {PROTOCOL}"
        if status or door is None:
            await _reply(connection, writer, Answer(status, why.encode(), "text/plain; charset=utf-8"))
            return False
        upgrade = [("connection", "upgrade"), ("upgrade", PROTOCOL)]
        writer.write(connection.send(h11.InformationalResponse(status_code=101, headers=upgrade)) or b"")
        # Who spoke before the answer does not know this protocol.
        if not connection.trailing_data[0]:
            await door.serve(reader, writer)
        return False

    async def _answer(self, method: bytes, target: bytes, body: bytes) -> Answer:
        try:
            url = urlsplit(target.decode("ascii"))
        except ValueError:
            return Answer(400)
        match method, url.path:
            case b"POST", "/beats":
                answer = self._take_beat(body)
            case b"GET", "/health":
                answer = Answer(200, _encode(self._answers.health()))
            case b"GET", "/apps":
                answer = Answer(200, _encode(self._answers.apps()))
            case b"GET", path if path.startswith("/logs/"):
                answer = await self._log_tail(unquote(path.removeprefix("/logs/")), url.query)
            case _, "/beats" | "/health" | "/apps" | "/exec":
                answer = Answer(405)
            case _:
                answer = Answer(404)
        return answer

    def _take_beat(self, body: bytes) -> Answer:
        try:
            app, generation = _decode_beat(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Answer(400)
        return Answer(204 if self._answers.take_beat(app, generation) else 410)

    async def _log_tail(self, app: str, query: str) -> Answer:
        asked = parse_qs(query).get("tail", ["100"])[0]
        if not asked.isascii() or not asked.isdigit() or "/" in app or app.startswith("."):
            return Answer(400)
        lines = await self._answers.log_tail(app, min(int(asked[:9]), LOG_LINES_MAX))
        return Answer(200, lines, "text/plain; charset=utf-8")


async def _next_event(
    connection: h11.Connection, reader: asyncio.StreamReader, within_s: float
) -> h11.Event | type:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event
        async with asyncio.timeout(within_s):
            connection.receive_data(await reader.read(HEAD_BYTES_MAX))


async def _reply(connection: h11.Connection, writer: asyncio.StreamWriter, answer: Answer) -> None:
    headers = [("content-length", str(len(answer.body)))] if answer.status != 204 else []  # noqa: PLR2004
    if answer.body:
        headers.append(("content-type", answer.content_type))
    sent = connection.send(h11.Response(status_code=answer.status, headers=headers))
    sent = (sent or b"") + (connection.send(h11.Data(data=answer.body)) or b"" if answer.body else b"")
    writer.write(sent + (connection.send(h11.EndOfMessage()) or b""))
    async with asyncio.timeout(REQUEST_WITHIN_S):
        await writer.drain()
