"""Beats of apps that do not simply beat themselves, and who is ready. Shell of the agents.

The runner knows only beats. What is one is decided here, from what the book says of each copy:
1. `sdk`: the app's own word. `process`: that it lives, said each second. `http`: an answer of its page.
2. A copy with a readiness page beats for the first time once that page has answered; before, its own word is kept.
3. While a copy stops, that it lives is enough for `http`: whoever shuts down in order closes its door first.
4. A page that hangs costs one of a few places for at most its timeout. Pages that last answered well never wait for
   the others, which have half of the places.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from agents.check_book import CheckBook, Checked
from agents.http_page import ask_page
from agents.inputs import Beaten
from agents.state import Thing
from sdk.contract.running import HttpCheck

log = logging.getLogger("watchkeep.checks")

#: Between two looks at all copies.
TURN_S = 0.25
#: Between two beats of a living process: below the limit by far, and a second is soon enough for `apps list`.
PROCESS_EVERY_S = 1.0
#: From one question to the next: with the largest patience, 3 s, three fit into the silence limit of 10 s.
ASK_EVERY_S = 2.0
#: Questions under way at once, and those of them that go to pages which did not answer well the last time. A page
#: answers in some ms, so 32 places serve thousands of questions a second.
ASKING_MAX = 32
DOUBTFUL_MAX = 16
#: A beat of its own that came before the app was ready counts if it is not older than this: two usual beats.
BEAT_KEPT_S = 10.0

#: Ip, port, path, timeout in s: what came instead of a good answer, empty if that came.
Ask = Callable[[str, int, str, float], Awaitable[str]]


class _Watched:
    """What is known of one copy; times are those of the event loop."""

    def __init__(self, copy: Checked) -> None:
        self.copy = copy
        #: When the app last beat by itself.
        self.own_beat_s = float("-inf")
        #: When the next beat of a living process is due.
        self.beat_due_s = 0.0
        #: When the next question is due.
        self.ask_due_s = 0.0
        self.is_asked = False
        #: What came instead of a good answer; None before the first.
        self.fault: str | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether its page may well hang."""
        return self.fault != ""


class Checks:
    """Watches the copies of one agent."""

    def __init__(
        self,
        book: CheckBook,
        *,
        things: Callable[[], Iterable[Thing]],
        feed: Callable[[Beaten], None],
        address_of: Callable[[str, int], str],
        ask: Ask = ask_page,
    ) -> None:
        self._book = book
        self._things = things
        self._feed = feed
        self._address_of = address_of
        self._ask = ask
        self._watched: dict[str, _Watched] = {}
        self._asking: dict[asyncio.Task[None], _Watched] = {}

    async def run(self) -> None:
        """Look at all copies again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self.turn(loop.time())
                await asyncio.sleep(TURN_S)
        finally:
            for task in self._asking:
                task.cancel()

    def take_beat(self, app: str, generation: int, now_s: float) -> None:
        """A copy beat by itself."""
        copy = self._book.find(app, generation)
        if copy is None:
            self._feed(Beaten(app, generation))
            return
        self._watch(copy).own_beat_s = now_s
        if copy.heartbeat == "sdk" and copy.is_ready:
            self._feed(Beaten(app, generation))

    def turn(self, now_s: float) -> None:
        """Say the beats that are due, and ask the pages that are."""
        due: list[tuple[_Watched, HttpCheck]] = []
        seen = set()
        for thing in self._things():
            copy = self._book.find(thing.key, thing.epoch)
            if copy is None or not thing.is_alive:
                continue
            seen.add(thing.key)
            watched = self._watch(copy)
            if thing.killed or not thing.pid:
                continue
            self._beat_for(watched, thing, now_s)
            page = _page_of(copy, thing)
            if page is not None and not watched.is_asked and now_s >= watched.ask_due_s:
                due.append((watched, page))
        for gone in self._watched.keys() - seen:
            del self._watched[gone]
        due.sort(key=lambda it: it[0].ask_due_s)
        self._begin(due, now_s)

    def _watch(self, copy: Checked) -> _Watched:
        watched = self._watched.get(copy.app)
        if watched is None or watched.copy is not copy:
            watched = self._watched[copy.app] = _Watched(copy)
        return watched

    def _beat_for(self, watched: _Watched, thing: Thing, now_s: float) -> None:
        """Say that the process lives, if that is its beat and due."""
        copy = watched.copy
        is_enough = copy.heartbeat == "process" or (copy.heartbeat == "http" and thing.status == "stopping")
        if is_enough and copy.is_ready and now_s >= watched.beat_due_s:
            watched.beat_due_s = now_s + PROCESS_EVERY_S
            self._feed(Beaten(copy.app, copy.generation))

    def _begin(self, due: list[tuple[_Watched, HttpCheck]], now_s: float) -> None:
        """Ask as many as there are places for, the longest due first."""
        doubtful = sum(watched.is_doubtful for watched in self._asking.values())
        for watched, page in due:
            if len(self._asking) >= ASKING_MAX:
                return
            if watched.is_doubtful:
                if doubtful >= DOUBTFUL_MAX:
                    continue
                doubtful += 1
            watched.is_asked = True
            watched.ask_due_s = now_s + ASK_EVERY_S
            task = asyncio.ensure_future(self._ask_one(watched, page))
            self._asking[task] = watched
            task.add_done_callback(self._asking.pop)

    async def _ask_one(self, watched: _Watched, page: HttpCheck) -> None:
        copy = watched.copy
        ip, port = self._address_of(copy.app, copy.generation), page.port or copy.port
        try:
            fault = await self._ask(ip, port, page.path, page.timeout_ms / 1_000)
        finally:
            watched.is_asked = False
        if self._watched.get(copy.app) is not watched:
            return
        if fault != watched.fault and (fault or watched.fault):
            level = logging.WARNING if fault else logging.INFO
            log.log(level, "%s: http://%s:%d%s: %s", copy.app, ip, port, page.path, fault or "answers again")
        watched.fault = fault
        if not fault:
            self._note_answer(watched)

    def _note_answer(self, watched: _Watched) -> None:
        """A page answered well: that is a beat, or the copy is ready now."""
        copy = watched.copy
        if copy.is_ready:
            self._feed(Beaten(copy.app, copy.generation))
            return
        self._book.note_ready(copy)
        log.info("%s is ready", copy.app)
        # If a page is its beat, that is asked at once.
        watched.ask_due_s = 0.0
        age_s = asyncio.get_running_loop().time() - watched.own_beat_s
        if copy.heartbeat == "sdk" and age_s <= BEAT_KEPT_S:
            self._feed(Beaten(copy.app, copy.generation))


def _page_of(copy: Checked, thing: Thing) -> HttpCheck | None:
    """The page that is to be asked now."""
    if not copy.is_ready:
        return copy.readiness
    return copy.http if thing.status != "stopping" else None
