"""The platform with one guard switched off at a time, to see that the checkers bite. Part of the simulator.

Each mutant names the guard, how to switch it off, and the faults that make it matter. `python -m
tests.simulation.mutants [NAME]` hunts for a seed; the tests replay the seeds that were found.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import msgspec

from agents import clock, runner
from sdk.contract.events import Position
from sdk.contract.topics import partition_of
from streams.core import planning, publisher
from tables import decide, facts, fold_apps, fold_control, fold_nodes, plan, silence, timers, watcher
from tests.simulation import sim_shell
from tests.simulation.run import Verdict, faults_of, run_seed

#: (object, attribute, function of the old value to the new one)
Change = tuple[Any, str, Callable[[Any], Any]]


class Mutant(NamedTuple):
    """One guard, switched off."""

    name: str
    changes: list[Change]
    #: Faults that are to come often.
    kinds: list[str]


def _always(value: Any) -> Callable[[Any], Any]:
    return lambda _: lambda *_args, **_kwargs: value


def _no_terms() -> list[Change]:
    return [(module, "term_fault", _always("")) for module in (fold_nodes, fold_apps, fold_control)]


def _write_orders_once(old: Any) -> Any:
    def settle(self: Any, reporter: str, now_ms: int) -> bool:
        old(self, reporter, now_ms)
        return True

    return settle


def _read_nothing_back(old: Any) -> Any:
    def read_back(self: Any, key: Any, value: Any) -> None:
        dirty = set(self._dirty)
        old(self, key, value)
        self._dirty = dirty

    return read_back


def _obey_anything(old: Any) -> Any:
    def look(turn: Any) -> None:
        turn.state.as_of = -1
        old(turn)

    return look


def _note_latest(_old: Any) -> Any:
    def note(state: Any, orders: Any) -> None:
        if state.claim and orders.claim == state.claim:
            state.own = orders
        else:
            state.foreign = orders

    return note


def _any_epoch(old: Any) -> Any:
    def beat(self: Any, source: str, epoch: int, offset: int, policy: Any) -> None:
        session = self.sessions.get(source)
        old(self, source, max(epoch, session.epoch) if session else epoch, offset, policy)

    return beat


def _no_settling(_old: Any) -> Any:
    return lambda _self, last_ms, limit_ms, _settling_ms, _policy: last_ms + limit_ms


def _endless_settling(_old: Any) -> Any:
    def deadline(self: Any, last_ms: int, limit_ms: int, settling_ms: int, policy: Any) -> int:
        return max(last_ms + limit_ms, int(self.cut_ms) + 30 * settling_ms)

    return deadline


def _whole_steps(_old: Any) -> Any:
    def advance(self: Any, append_ms: int, policy: Any) -> None:
        if self.append_ms is not None:
            self.clock_ms += max(0, append_ms - self.append_ms)
        self.append_ms = append_ms

    return advance


def _no_fence(_old: Any) -> Any:
    def confirm(self: Any, source: str, epoch: int) -> Position:
        del epoch
        app = self.state.apps.get(source)
        partition = partition_of(app.node if app is not None else source)
        return Position(partition, self.watches[partition].next_offset - 1)

    return confirm


def _facts_once(old: Any) -> Any:
    """A fact is written when it is seen first, and never again."""

    def due(self: Any, found: Any, *, now_ms: int, leads: bool) -> Any:
        seen = self.__dict__.setdefault("_ever", set())
        ready = old(self, [fact for fact in found if fact.event_id not in seen], now_ms=now_ms, leads=leads)
        seen.update(fact.event_id for fact in found)
        return ready

    return due


def _drawn_ids(old: Any) -> Any:
    numbers = count()
    return lambda *parts: old(*parts, next(numbers))


def _unbounded_turn(_old: Any) -> Any:
    def turn(self: Any) -> bool:
        now_s = self._source()
        self._now_ms += (now_s - self._last_s) * 1000
        self._last_s = now_s
        return False

    return turn


def _torn_save(_old: Any) -> Any:
    def save(self: Any, worker: Any) -> None:
        self.save_rows(worker)
        worker.after(300, lambda: self.save_head(worker))

    return save


def _unread_report(old: Any) -> Any:
    """Apps that a report does not mention are lost, whatever orders it was made under."""

    def lost(watcher_: Any, node: Any, report: Any, position: Any) -> Any:
        return old(watcher_, node, msgspec.structs.replace(report, as_of=1 << 40), position)

    return lost


def _second_claim(old: Any) -> Any:
    def fault(state: Any, event: Any) -> str:
        reason: str = old(state, event)
        return "" if reason in ("hello is older than what is known", "the node has left") else reason

    return fault


def _no_flight(old: Any) -> Any:
    def turn(self: Any, elapsed_ms: int) -> None:
        self._flight.clear()
        self._appending = False
        old(self, elapsed_ms)

    return turn


MUTANTS: list[Mutant] = [
    Mutant("terms", _no_terms(), ["pause node", "cut node", "say again", "rebalance", "kill worker"]),
    Mutant(
        "reading orders back",
        [
            (publisher.Publisher, "_settle", _write_orders_once),
            (publisher.Publisher, "read_back", _read_nothing_back),
        ],
        ["stop broker at append", "pause worker at append", "app", "crash node"],
    ),
    Mutant(
        "as_of in the agent",
        [(runner, "_look_at_orders", _obey_anything), (runner, "_note_orders", _note_latest)],
        ["pause worker", "rebalance", "app", "stop broker", "ask app"],
    ),
    Mutant(
        "epoch in sessions",
        [(silence.PartitionWatch, "_beat", _any_epoch)],
        ["cut node", "pause node", "crash node", "crash agent"],
    ),
    Mutant("settling", [(silence.PartitionWatch, "deadline", _no_settling)], ["stop broker", "step clock"]),
    Mutant(
        "bound of settling",
        [(silence.PartitionWatch, "deadline", _endless_settling)],
        ["pause node", "cut node", "step clock"],
    ),
    Mutant(
        "clock step cut", [(silence.PartitionWatch, "_advance", _whole_steps)], ["stop broker", "step clock"]
    ),
    Mutant(
        "fence before acting",
        [(watcher.Watcher, "confirm_silence", _no_fence)],
        ["pause node", "cut node", "kill all workers", "pause worker", "ask nodes"],
    ),
    Mutant(
        "level-triggered facts",
        [(facts.FactOutbox, "due", _facts_once)],
        ["stop broker", "crash node", "app"],
    ),
    Mutant(
        "derived ids",
        [(facts, "derive_id", _drawn_ids)],
        ["slow broker", "stop broker at append", "app", "cut node"],
    ),
    Mutant(
        "brake on overdue",
        [(watcher, "band_of", _always("calm")), (facts, "band_of", _always("calm"))],
        ["cut node", "pause node"],
    ),
    Mutant("agent drains before it judges", [(clock.BoundedClock, "turn", _unbounded_turn)], ["pause node"]),
    Mutant(
        "snapshot atomicity",
        [(sim_shell.Disk, "save", _torn_save)],
        ["kill worker", "kill worker at append", "app"],
    ),
    Mutant(
        "capacity check",
        [
            (fold_apps, "used_slots", _always(0)),
            (plan.Plan, "free_slots", _always(99)),
        ],
        ["ask app", "crash node"],
    ),
    Mutant("report's as_of", [(facts, "_lost_apps", _unread_report)], ["ask app", "crash node", "app"]),
    Mutant(
        "requests seen",
        [(module, "request_fault", _always("")) for module in (fold_apps, fold_control)],
        ["lose acks", "rebalance", "ask nodes", "ask app", "say again"],
    ),
    Mutant(
        "fresh partitions only",
        [(watcher.Watcher, "is_fresh", _always(True))],
        ["pause worker", "kill worker", "cut worker", "cut node"],
    ),
    Mutant(
        "hello newer than what is known",
        [(fold_nodes, "registration_fault", _second_claim), (facts, "registration_fault", _second_claim)],
        ["crash agent", "pause broker", "cut node", "say again"],
    ),
    Mutant(
        "one batch in flight", [(planning.Planning, "turn", _no_flight)], ["slow broker", "crash node", "app"]
    ),
    Mutant(
        "timers' step",
        [(timers, "STEP_MAX_MS", lambda _: 1 << 40)],
        ["pause worker", "ask app", "app"],
    ),
    Mutant(
        "replaced generation has ended",
        [(fold_apps, "may_replace", _always(True)), (decide, "decide_apps", lambda old: old)],
        ["pause worker", "rebalance", "app", "say again"],
    ),
]


#: Mutant -> the seed that catches it, and the checker that does. Found by the hunt below.
CAUGHT: dict[str, tuple[int, str]] = {
    "terms": (19, "decisions count in their term"),
    "as_of in the agent": (1, "orders only get newer"),
    "settling": (4, "silence is justified"),
    "bound of settling": (14, "silence is found"),
    "clock step cut": (1, "silence is justified"),
    "level-triggered facts": (11, "it heals"),
    "brake on overdue": (21, "brake holds"),
    "agent drains before it judges": (2, "no death of what lives"),
    "snapshot atomicity": (8, "one fold"),
    "capacity check": (1, "invariants"),
    "report's as_of": (1, "it heals"),
    "requests seen": (4, "a request counts once"),
    "one batch in flight": (5, "decisions are rarely refused"),
}


@contextmanager
def switched_off(mutant: Mutant) -> Iterator[None]:
    """The platform without one guard."""
    before = [(where, name, getattr(where, name)) for where, name, _ in mutant.changes]
    for (where, name, change), (_, _, old) in zip(mutant.changes, before, strict=True):
        setattr(where, name, change(old))
    try:
        yield
    finally:
        for where, name, old in before:
            setattr(where, name, old)


def run_mutant(mutant: Mutant, seed: int) -> Verdict:
    """One seed with the guard switched off and the faults that concern it."""
    with switched_off(mutant):
        return run_seed(seed, faults_of(seed, kinds=mutant.kinds))


def hunt(mutant: Mutant, *, seeds: range) -> tuple[int, Verdict] | None:
    """The first seed that catches the mutant."""
    for seed in seeds:
        verdict = run_mutant(mutant, seed)
        if verdict.checker:
            return seed, verdict
    return None


if __name__ == "__main__":
    import logging

    logging.disable(logging.CRITICAL)
    for each in MUTANTS:
        if len(sys.argv) > 1 and each.name not in sys.argv[1:]:
            continue
        found = hunt(each, seeds=range(1, 31))
        print(each.name, "|", found and (found[0], found[1].text[:300]), flush=True)  # noqa: T201
