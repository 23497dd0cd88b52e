"""The agent's HTTP endpoint: beats, health, logs, and garbage."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.endpoint import BODY_BYTES_MAX, CONNECTIONS_MAX, Answers, Endpoint

Act = Callable[[int, list[tuple[str, int]]], Awaitable[None]]


def play(act: Act) -> None:
    """Run `act` with the port of an endpoint that welcomes application-a of generation 7, and its beats."""

    async def run() -> None:
        beats: list[tuple[str, int]] = []

        def take(app: str, generation: int) -> bool:
            beats.append((app, generation))
            return (app, generation) == ("application-a", 7)

        endpoint = Endpoint(Answers(take, lambda: {"node": "n"}, list, tail))
        port = await endpoint.listen("127.0.0.1", 0)
        try:
            await act(port, beats)
        finally:
            await endpoint.close()

    asyncio.run(run())


async def tail(app: str, lines: int) -> bytes:
    """What was asked for."""
    return f"{app} {lines}".encode()


async def ask(port: int, request: bytes) -> bytes:
    """Everything that comes back until the endpoint closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except OSError:
        return b""
    finally:
        await shut(writer)


async def shut(writer: asyncio.StreamWriter) -> None:
    """Close a connection that may have been reset."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def post(body: bytes, *, path: bytes = b"/beats") -> bytes:
    """A request with this body."""
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)


def get(path: bytes) -> bytes:
    """A request for this path."""
    return b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post(b'["application-a",7]'), 204),
        (post(b'["application-a",6]'), 410),
        (post(b'["application-b",7]'), 410),
        (post(b"[" * 1_000), 400),
        (post(b"\xff\xfe"), 400),
        (post(b'{"app":1}'), 400),
        (post(b""), 400),
        (post(b"x" * (BODY_BYTES_MAX + 1)), 413),
        (get(b"/health"), 200),
        (get(b"/apps"), 200),
        (get(b"/beats"), 405),
        (get(b"/nothing"), 404),
        (get(b"/logs/application-a?tail=5"), 200),
        (get(b"/logs/application-a?tail=-5"), 400),
        (get(b"/logs/..%2f..%2fetc%2fpasswd"), 400),
        (get(b"/logs/.hidden"), 400),
        (get(b"/" + b"x" * 20_000), 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_answers(request_: bytes, status: int) -> None:
    """Each request gets the status that it deserves."""

    async def act(port: int, beats: list[tuple[str, int]]) -> None:
        answer = await ask(port, request_)
        assert answer.startswith(b"HTTP/1.1 %d" % status), answer[:200]

    play(act)


def test_connection_is_kept() -> None:
    """Many beats go over one connection."""

    async def act(port: int, beats: list[tuple[str, int]]) -> None:
        answer = await ask(port, post(b'["application-a",7]') * 5)
        assert answer.count(b"204 ") == 5
        assert beats == [("application-a", 7)] * 5

    play(act)


def test_log_tail_is_bounded() -> None:
    """However many lines are asked for, a bounded number is read."""

    async def act(port: int, beats: list[tuple[str, int]]) -> None:
        assert b"application-a 5000" in await ask(port, get(b"/logs/application-a?tail=999999999999"))

    play(act)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=3_000), st.binary(max_size=200).map(lambda it: b"POST /beats HTTP/1.1\r\n" + it)
    )
)
def test_garbage_hurts_nobody(garbage: bytes) -> None:
    """Whatever comes, the endpoint answers the next request."""

    async def act(port: int, beats: list[tuple[str, int]]) -> None:
        await ask(port, garbage)
        assert (await ask(port, post(b'["application-a",7]'))).startswith(b"HTTP/1.1 204")

    play(act)


def test_connections_are_bounded() -> None:
    """One connection too many is dropped, and there is room again when others close."""

    async def act(port: int, beats: list[tuple[str, int]]) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
        # The last accepted ones may still be under way; a served request says that they are not.
        held[-1][1].write(get(b"/health"))
        await held[-1][0].readline()
        assert await ask(port, get(b"/health")) == b""
        for _, writer in held:
            await shut(writer)
        async with asyncio.timeout(10):
            while not (await ask(port, get(b"/health"))).startswith(b"HTTP/1.1 200"):
                await asyncio.sleep(0.01)

    play(act)


def test_endpoint_needs_its_port() -> None:
    """A port that is taken is an error at the start."""

    async def act(port: int, beats: list[tuple[str, int]]) -> None:
        other = Endpoint(Answers(lambda *_: False, dict, list, tail))
        with pytest.raises(OSError, match="already in use"):
            await other.listen("127.0.0.1", port)

    play(act)
