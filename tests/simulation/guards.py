"""How each guard is switched off: functions of the old code to the new. Part of the simulator's mutants."""

from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from sdk.contract.events import Position
from sdk.contract.topics import partition_of
from tables import fold_apps, fold_control, fold_nodes

#: (object, attribute, function of the old value to the new one)
Change = tuple[Any, str, Callable[[Any], Any]]


def always(value: Any) -> Callable[[Any], Any]:
    """A function that gives one answer."""
    return lambda _: lambda *_args, **_kwargs: value


def no_terms() -> list[Change]:
    """A decision of any term counts."""
    return [(module, "term_fault", always("")) for module in (fold_nodes, fold_apps, fold_control)]


def any_stretch(_old: Any) -> Any:
    """A stretch of the notifications topic counts wherever it begins."""
    return lambda state, event: fold_nodes.term_fault(state, event.term)


def write_orders_once(old: Any) -> Any:
    """Orders are written when the fold changes, and never because of what stands."""

    def settle(self: Any, reporter: str, now_ms: int) -> bool:
        old(self, reporter, now_ms)
        return True

    return settle


def read_nothing_back(old: Any) -> Any:
    """Orders that somebody else wrote are not looked at."""

    def read_back(self: Any, key: Any, value: Any) -> None:
        dirty = set(self._dirty)
        old(self, key, value)
        self._dirty = dirty

    return read_back


def obey_anything(old: Any) -> Any:
    """An agent obeys orders older than those it obeyed."""

    def look(turn: Any) -> None:
        if turn.state.own is not None:
            turn.state.as_of = -1
        old(turn)

    return look


def note_latest(_old: Any) -> Any:
    """Of several orders an agent keeps the one that came last."""

    def note(state: Any, orders: Any) -> None:
        if state.claim and orders.claim == state.claim:
            state.own = orders
        else:
            state.foreign = orders

    return note


def one_limit_for_all(_old: Any) -> Any:
    """A sensor may be silent for as long as a node."""
    return lambda _session, policy: policy.silence_limit_ms


def expect_no_claim(old: Any) -> Any:
    """Hellos are no sign of life of the registration that they won."""

    def expect(self: Any, source: str, epoch: int, *, seen: int, policy: Any, claim: str = "") -> None:
        del claim
        old(self, source, epoch, seen=seen, policy=policy)

    return expect


def any_epoch(old: Any) -> Any:
    """A beat of an older registration counts for the one in force."""

    def beat(self: Any, source: str, epoch: int, offset: int, policy: Any) -> None:
        session = self.sessions.get(source)
        old(self, source, max(epoch, session.epoch) if session else epoch, offset, policy)

    return beat


def no_settling(_old: Any) -> Any:
    """A gap in the partition postpones nothing."""
    return lambda _self, last_ms, limit_ms, _settling_ms, _policy: last_ms + limit_ms


def endless_settling(_old: Any) -> Any:
    """A gap postpones by five minutes, and again at each gap."""

    def deadline(self: Any, last_ms: int, limit_ms: int, settling_ms: int, policy: Any) -> int:
        return max(last_ms + limit_ms, int(self.cut_ms) + 30 * settling_ms)

    return deadline


def whole_steps(_old: Any) -> Any:
    """A gap in the partition counts as time."""

    def advance(self: Any, append_ms: int, policy: Any) -> None:
        if self.append_ms is not None:
            self.clock_ms += max(0, append_ms - self.append_ms)
        self.append_ms = append_ms

    return advance


def no_fence(_old: Any) -> Any:
    """A silence of the log is acted upon, whatever was read since."""

    def confirm(self: Any, source: str, epoch: int) -> Position:
        del epoch
        app = self.state.apps.get(source)
        partition = partition_of(app.node if app is not None else source)
        return Position(partition, self.watches[partition].next_offset - 1)

    return confirm


def facts_once(old: Any) -> Any:
    """A fact is written when it is seen first, and never again."""

    def due(self: Any, found: Any, **how: Any) -> Any:
        seen = self.__dict__.setdefault("_ever", set())
        ready = old(self, [fact for fact in found if fact.event_id not in seen], **how)
        seen.update(fact.event_id for fact in found)
        return ready

    return due


def drawn_ids(old: Any) -> Any:
    """Each time that a fact is found it gets another id."""
    numbers = count()
    return lambda *parts: old(*parts, next(numbers))


def unbounded_turn(_old: Any) -> Any:
    """An agent that was paused judges at once, by its real clock."""

    def turn(self: Any) -> bool:
        now_s = self._source()
        self._now_ms += (now_s - self._last_s) * 1000
        self._last_s = now_s
        return False

    return turn


def torn_save(_old: Any) -> Any:
    """Rows are saved first, and the offset they belong to a moment later."""

    def save(self: Any, worker: Any) -> None:
        self.save_rows(worker)
        worker.after(300, lambda: self.save_head(worker))

    return save


def unread_report(old: Any) -> Any:
    """Apps that a report does not mention are lost, whatever orders it was made under."""

    def lost(watcher_: Any, node: Any, report: Any, position: Any) -> Any:
        return old(watcher_, node, msgspec.structs.replace(report, as_of=1 << 40), position)

    return lost


def no_flight(old: Any) -> Any:
    """Decisions are made again before the last ones were read back."""

    def turn(self: Any, elapsed_ms: int) -> None:
        self._flight.clear()
        self._appending = False
        old(self, elapsed_ms)

    return turn


def any_hello(old: Any) -> Any:
    """A hello counts whatever its claim, however old, and whichever registration it names.

    Three guards in a row, each of which answers for the others: a hello that is older than what is known carries a
    claim that is registered or names a registration that is over.
    """

    def fault(state: Any, event: Any) -> str:
        reason: str = old(state, event)
        known = (
            "claim is registered",
            "hello is older than what is known",
            "another registration of this id is in force",
        )
        return "" if reason in known else reason

    return fault


def left_returns(old: Any) -> Any:
    """A node that was taken away may register again."""

    def fault(state: Any, event: Any) -> str:
        reason: str = old(state, event)
        return "" if reason == "the node has left" else reason

    return fault


def no_takeover(_old: Any) -> Any:
    """Who gets the view writes what changes from then on, and compares nothing."""

    def owner_changed(self: Any, owns: bool) -> None:  # the signature of what it replaces
        self._owns = owns
        self._flight.clear()
        self._odd.clear()
        self._progress = -1
        self._turned_at = -1

    return owner_changed


def spare_serves(old: Any) -> Any:
    """A node that stands by may be given apps."""

    def fault(*args: Any) -> str:
        word: str = old(*args)
        return "" if word == "spare" else word

    return fault


def bridge_from_nothing(_old: Any) -> Any:
    """A bridge that takes over knows nothing of the last one: all that a topic holds is news to it."""
    return lambda _self, _source, _expectation: 0
