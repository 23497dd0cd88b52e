"""A simulated worker that dozes: turns in which nothing can happen are left out. Part of the simulator.

A turn compares what was read with the fold and decides. After one that found nothing, the next finds nothing either
until one of these comes, and each of them ends the doze: a record with news, a record of the log, an answer of the
broker, another owner, a request, a timer, or a source so old that it may become overdue or silent. Ticks and reports
that say what was said before are read when the doze ends, all at once; the result is the same, because everything
that the watcher computes from them goes by their append times.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tables.decide import decide
from tables.facts import find_facts
from tests.simulation.differences import Violation

if TYPE_CHECKING:
    from tests.simulation.workers import Worker

#: A doze shorter than this is not worth it, ms.
SHORT_MS = 300
#: The longest, ms: ticks are remembered until they are read back, 40 of them.
LONG_MS = 5_000
#: A worker whose view is not complete looks again after this, ms: as often as if it did not doze.
VIEWS_MS = 200
#: The timers' clock moves in such steps meanwhile, ms: those of turns.
STEP_MS = 200


def doze_ms(worker: "Worker") -> int:
    """How long nothing can happen to this worker after a turn, without news; 0 if it must turn on."""
    if not worker.world.shortcuts or worker.is_busy:
        return 0
    if worker.views.is_busy:
        # It waits for rows to come back, which wakes it, or for the time to offer or to count them again.
        return VIEWS_MS if _calm_ms(worker, VIEWS_MS) else 0
    return _calm_ms(worker, SHORT_MS)


def _calm_ms(worker: "Worker", least_ms: int) -> int:
    """How long nothing is to be concluded from what was read, at the most `LONG_MS`; 0 if for less than `least_ms`."""
    watcher = worker.watcher
    if not worker.can_read:
        if any(watcher.is_fresh(partition) for partition in watcher.watches):
            return 0
        # Nothing comes, and of what was read nothing is concluded; it is woken when it can read again.
        left_ms = min([LONG_MS, *_timers_in_ms(worker)])
        return left_ms if left_ms >= least_ms else 0
    if not watcher.is_fresh_everywhere() or any(watch.ahead for watch in watcher.watches.values()):
        return 0
    calm_ms = LONG_MS
    for left_ms in _changes_in_ms(worker):
        if left_ms < least_ms:
            return 0
        calm_ms = min(calm_ms, left_ms)
    return calm_ms


def _changes_in_ms(worker: "Worker") -> Iterator[int]:
    """When something changes if nobody is heard any more: each timer, each source that grows too old."""
    yield from _timers_in_ms(worker)
    policy = worker.state.policy
    watcher, broker = worker.watcher, worker.world.broker
    append_ms = broker.loop.now_ms + broker.shift_ms
    settling_ms = max(0, policy.settling_ms - 2_500)
    nodes = worker.state.nodes
    for watch in watcher.watches.values():
        # The clock goes on with the next tick.
        assert watch.append_ms is not None
        ahead_ms = watch.clock_ms + max(0, append_ms - watch.append_ms)
        sessions, silent = watch.sessions, watch.silent
        # Who was heard first is the first to be overdue or silent.
        oldest_ms = min(
            (each.last_ms for each in sessions.values() if each.source not in silent), default=None
        )
        if oldest_ms is not None:
            yield watch.deadline(oldest_ms, policy.silence_limit_ms, policy.settling_ms, policy) - ahead_ms
        if not worker.planning.leads:
            continue  # The share of overdue nodes is the leader's matter.
        for heard_ms in sorted(
            watcher._heard_ms(watch, source) or 0 for source in sessions if source in nodes
        ):
            due = watch.deadline(heard_ms, policy.overdue_ms, settling_ms, policy)
            if due > watch.clock_ms:
                yield due - ahead_ms
                break


def _timers_in_ms(worker: "Worker") -> list[int]:
    """When each timer fires; only the leader has any."""
    timers = worker.planning._timers
    return [at - timers._now_ms for at in timers._due.values()] if worker.planning.leads else []


def check_doze(worker: "Worker") -> None:
    """Whether a turn would have nothing to do now; for runs that watch the shortcut itself."""
    if worker.expects_news:
        return
    worker.catch_up()
    worker.watcher.now_ms = worker.mono_ms
    planning, state = worker.planning, worker.state
    facts = find_facts(worker.watcher, topic_id=worker.world.heartbeats_id, leads=planning.leads)
    if worker.round.outbox.due(facts, now_ms=worker.mono_ms, leads=True):
        raise Violation("a turn left out does nothing", f"{worker.name} has {facts}")
    if planning.leads and (decisions := decide(state, worker.watcher)):
        raise Violation("a turn left out does nothing", f"{worker.name} decides {decisions}")
