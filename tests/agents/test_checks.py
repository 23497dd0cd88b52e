"""Beats of apps that do not beat themselves, and readiness: on a clock of the test, and with real pages."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.check_book import CheckBook
from agents.checks import ASK_EVERY_S, ASKING_MAX, BEAT_KEPT_S, DOUBTFUL_MAX, Checks
from agents.http_page import ask_page
from agents.inputs import Beaten
from agents.state import Thing
from sdk.contract.orders import AppOrder
from sdk.contract.running import HttpCheck

A = "application-a"


class Bench:
    """Checks of made-up copies, with pages that answer what the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.things: dict[str, Thing] = {}
        self.beats: list[Beaten] = []
        self.asked: list[tuple[str, int, str]] = []
        #: What a page says; one that is missing never answers.
        self.pages: dict[str, str] = {}
        self.now_s = 100.0
        self.begin()

    def begin(self) -> None:
        """A new agent over the same disk."""
        self.book = CheckBook(self.folder / "checks.json", ip="127.0.0.1")
        self.checks = Checks(
            self.book,
            things=self.things.values,
            feed=self.beats.append,
            address_of=lambda *_: "127.0.0.1",
            ask=self._ask,
        )

    def start(self, app: str = A, **order: object) -> AppOrder:
        """Start a copy, as the agent's hands do; the order as the driver gets it."""
        begun = self.book.begin(AppOrder(app, 7, ["x"], **order))  # type: ignore[arg-type]  # fields of an order
        self.things[app] = Thing(app, 7, "starting", 0, order=begun, pid=11)
        return begun

    async def turn(self, after_s: float = 0.0) -> int:
        """One turn, with all answers that come at once; the beats it brought."""
        before = len(self.beats)
        self.now_s += after_s
        self.checks.turn(self.now_s)
        for _ in range(5):
            await asyncio.sleep(0)
        return len(self.beats) - before

    async def _ask(self, ip: str, port: int, path: str, _timeout_s: float) -> str:
        self.asked.append((ip, port, path))
        if path not in self.pages:
            await asyncio.Event().wait()
        return self.pages[path]


def play(folder: Path, act: Callable[[Bench], Awaitable[None]]) -> None:
    """Run `act` with a bench; questions without an answer end with the loop."""

    async def run() -> None:
        await act(Bench(folder))

    asyncio.run(run())


def test_a_living_process_beats_each_second(tmp_path: Path) -> None:
    """`process`: once a second while it lives, and not before it has a process or after it was killed."""

    async def act(bench: Bench) -> None:
        bench.start(heartbeat="process")
        bench.things[A] = replace(bench.things[A], pid=0)
        assert await bench.turn() == 0
        bench.things[A] = replace(bench.things[A], pid=11)
        assert [await bench.turn(0.25) for _ in range(8)] == [1, 0, 0, 0, 1, 0, 0, 0]
        bench.things[A] = replace(bench.things[A], status="stopping")
        assert await bench.turn(1.0) == 1
        bench.things[A] = replace(bench.things[A], killed=True)
        assert await bench.turn(1.0) == 0

    play(tmp_path, act)


def test_own_beats_count_only_where_they_are_the_beat(tmp_path: Path) -> None:
    """An app that is watched by its page or its process gains nothing by beating from a thread of its own."""

    async def act(bench: Bench) -> None:
        page = HttpCheck(8_000)
        for heartbeat, http in (("sdk", None), ("process", None), ("http", page)):
            bench.start(heartbeat=heartbeat, http=http)
            bench.checks.take_beat(A, 7, bench.now_s)
            assert bench.beats == ([Beaten(A, 7)] if heartbeat == "sdk" else [])
            bench.beats.clear()
        # Never started by us: whoever adopts an app without a line in the book takes its word.
        bench.checks.take_beat("application-b", 9, bench.now_s)
        assert bench.beats == [Beaten("application-b", 9)]

    play(tmp_path, act)


def test_a_page_that_answers_is_a_beat(tmp_path: Path) -> None:
    """`http`: each good answer beats, a bad one does not; asked every two seconds, never twice at once."""

    async def act(bench: Bench) -> None:
        bench.start(heartbeat="http", http=HttpCheck(8_000, "/health"))
        bench.pages["/health"] = ""
        assert await bench.turn() == 1
        assert await bench.turn(ASK_EVERY_S - 0.1) == 0
        assert await bench.turn(0.1) == 1
        bench.pages["/health"] = "answered 503"
        assert await bench.turn(ASK_EVERY_S) == 0
        del bench.pages["/health"]
        for _ in range(3):
            assert await bench.turn(ASK_EVERY_S) == 0
        assert bench.asked == [("127.0.0.1", 8_000, "/health")] * 4
        bench.things[A] = replace(bench.things[A], status="stopping")
        assert await bench.turn(ASK_EVERY_S) == 1

    play(tmp_path, act)


@pytest.mark.parametrize("heartbeat", ["sdk", "process", "http"])
def test_no_beat_before_the_readiness_page_answered(tmp_path: Path, heartbeat: str) -> None:
    """However it beats: until the page has answered once, nothing counts; afterwards the page is not asked again."""

    async def act(bench: Bench) -> None:
        http = HttpCheck(8_000, "/beat") if heartbeat == "http" else None
        bench.pages |= {"/beat": "", "/ready": "Connection refused"}
        bench.start(heartbeat=heartbeat, http=http, readiness=HttpCheck(8_000, "/ready"))
        bench.checks.take_beat(A, 7, asyncio.get_running_loop().time())
        for _ in range(3):
            assert await bench.turn(ASK_EVERY_S) == 0
        bench.pages["/ready"] = ""
        await bench.turn(ASK_EVERY_S)
        await bench.turn(0.25)
        assert bench.beats
        bench.asked.clear()
        bench.pages["/ready"] = "answered 503"
        await bench.turn(ASK_EVERY_S)
        assert ("127.0.0.1", 8_000, "/ready") not in bench.asked

    play(tmp_path, act)


def test_an_old_beat_is_not_kept_for_readiness(tmp_path: Path) -> None:
    """An app that beat once and hung is not started because its page answers later."""

    async def act(bench: Bench) -> None:
        bench.pages["/"] = ""
        bench.start(readiness=HttpCheck(8_000))
        bench.checks.take_beat(A, 7, asyncio.get_running_loop().time() - BEAT_KEPT_S - 1)
        assert await bench.turn() == 0
        bench.checks.take_beat(A, 7, bench.now_s)
        assert bench.beats == [Beaten(A, 7)]

    play(tmp_path, act)


def test_a_restarted_agent_remembers_who_was_ready_and_a_restarted_copy_is_asked_again(
    tmp_path: Path,
) -> None:
    """The book outlives the agent: who was ready needs no second answer, port and kind of beat stay known."""

    async def act(bench: Bench) -> None:
        bench.pages["/ready"] = ""
        order = bench.start(heartbeat="process", readiness=HttpCheck(0, "/ready"))
        port = int(order.env["WATCHKEEP_PORT"])
        await bench.turn()
        assert bench.asked == [("127.0.0.1", port, "/ready")]
        bench.asked.clear()
        bench.begin()
        bench.things[A] = replace(bench.things[A], order=None)
        assert await bench.turn() == 1
        assert bench.asked == []
        again = bench.start(heartbeat="process", readiness=HttpCheck(0, "/ready"))
        assert again.env["WATCHKEEP_PORT"] == str(port)
        await bench.turn(1.0)
        assert bench.asked == [("127.0.0.1", port, "/ready")]
        bench.book.forget(A, 6)
        assert bench.book.find(A, 7) is not None
        bench.book.forget(A, 7)
        assert bench.book.find(A, 7) is None

    play(tmp_path, act)


def test_hanging_pages_take_half_of_the_places_and_no_more(tmp_path: Path) -> None:
    """Many pages that hang do not keep a good one from being asked."""

    async def act(bench: Bench) -> None:
        bench.pages["/good"] = ""
        bench.start("application-good", heartbeat="http", http=HttpCheck(8_000, "/good"))
        assert await bench.turn() == 1
        for number in range(3 * ASKING_MAX):
            bench.start(f"application-{number}", heartbeat="http", http=HttpCheck(8_000, "/hangs"))
        for _ in range(4):
            assert await bench.turn(ASK_EVERY_S) == 1
        assert sum(path == "/hangs" for _, _, path in bench.asked) == DOUBTFUL_MAX

    play(tmp_path, act)


# --- real pages ----------------------------------------------------------------------------------------


@asynccontextmanager
async def page(answer: bytes | None) -> AsyncIterator[int]:
    """A server that says this to whoever connects, or nothing and hangs; its port."""
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await release.wait()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        release.set()
        server.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", ""),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "answered 503"),
        (b"HTTP/1.1 404 No\r\n\r\n", "answered 404"),
        (b"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000, "the answer is not HTTP/1.1"),
        (b"", "the answer is not HTTP/1.1"),
        (None, "no answer within 200 ms"),
    ],
)
def test_an_answer_of_200_to_399_is_a_good_one(answer: bytes | None, words: str) -> None:
    """Everything else is said in words, within the timeout."""

    async def act() -> None:
        async with page(answer) as port:
            assert await ask_page("127.0.0.1", port, "/", 0.2 if answer is None else 10.0) == words

    asyncio.run(act())


def test_nobody_listens() -> None:
    """A refused connection is a plain sentence."""

    async def act() -> None:
        async with page(b"") as port:
            pass
        assert await ask_page("127.0.0.1", port, "/", 10.0) == "Connection refused"

    asyncio.run(act())
