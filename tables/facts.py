"""What the heartbeats say and the log does not: facts with derived ids, and when to write each. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from sdk.contract.events import (
    AppExited,
    AppStarted,
    Event,
    NodeExited,
    OverdueShareChanged,
    Position,
    ProvisionerRegistered,
    SourceFellSilent,
    SourceKind,
    SourceReturned,
)
from sdk.contract.heartbeats import AppEntry, PoolReport, Report
from sdk.contract.ids import EventId, derive_id
from tables.fold_control import is_unheard, return_fault, silence_fault, source_row
from tables.fold_moves import may_take_over
from tables.fold_nodes import provisioner_fault, registration_fault
from tables.heard import Greeted, Reported, Session
from tables.rows import NodeRow
from tables.silence import PartitionWatch
from tables.state import holds_slot, is_hosted
from tables.watcher import Watcher, band_of, is_late, registration_of

#: Longest text of how an app ended that goes to the log.
DETAIL_MAX = 300


class Fact(NamedTuple):
    """An event and the id derived from what it claims."""

    event_id: EventId
    event: Event


def find_facts(watcher: Watcher, *, topic_id: str, leads: bool) -> list[Fact]:
    """Every fact that the log lacks, from partitions that are fresh; looks only at who was heard or is silent.

    Of very many, some are left to the next turn (`Watcher.slices`).
    """
    facts: list[Fact] = []
    if not watcher.waiting.is_over:
        watcher.waiting.go_on(watcher.policy)
    watcher.slices.begin()
    for watch in watcher.watches.values():
        if (watch.heard or watch.silent) and watcher.is_fresh(watch.partition):
            facts.extend(_facts_of(watcher, watch, topic_id))
    watcher.slices.end()
    if leads:
        facts.extend(_share_facts(watcher))
    return facts


def _facts_of(watcher: Watcher, watch: PartitionWatch, topic_id: str) -> Iterator[Fact]:
    done, slices = set(), watcher.slices
    for source in slices.heard(watch.heard):
        reported = watch.reports.get(source)
        if not slices.may_compare(source, reported.count if reported is not None else 0):
            break
        if _is_asking(watcher, watch, source):
            yield from _registration(watcher, watch, watch.hellos[source])
        if reported is not None and reported.head.as_of > watcher.state.offset:
            continue
        facts = list(_report_facts(watcher, watch, reported, topic_id)) if reported else []
        if source in watch.sessions:
            facts += _return(watcher, watch, source, topic_id)
        yield from facts
        if not facts and not _is_asking(watcher, watch, source):
            done.add(source)
    watch.compared(done)
    for source in slices.silent(watch.silent):
        if not slices.may_accuse(source):
            break
        sensor = watcher.state.devices.get(source)
        if sensor is not None and (sensor.silent or not sensor.expectation):
            # There may be a thousand that are silent for days: nothing to say of them.
            continue
        yield from _silence(watcher, watch, source, topic_id)


def _is_asking(watcher: Watcher, watch: PartitionWatch, source: str) -> bool:
    """Whether a hello waits for something the log may still bring (its order, the end of another registration)."""
    greeted = watch.hellos.get(source)
    if greeted is None:
        return False
    row = watcher.state.nodes.get(source) or watcher.state.pools.get(source)
    return row is None or row.claim != greeted.hello.claim


def _registration(watcher: Watcher, watch: PartitionWatch, greeted: Greeted) -> Iterator[Fact]:
    hello, position = greeted.hello, Position(watch.partition, greeted.offset)
    event_id = derive_id("registered", hello.reporter, hello.claim)
    if hello.reporter.startswith("pool-"):
        arrival = ProvisionerRegistered(
            hello.reporter, hello.claim, hello.registration, hello.boot_id, position
        )
        if not provisioner_fault(watcher.state, arrival):
            yield Fact(event_id, arrival)
        return
    event = registration_of(hello, watch.partition, greeted.offset)
    if not registration_fault(watcher.state, event):
        yield Fact(event_id, event)


def _kind_of(watcher: Watcher, source: str, epoch: int) -> SourceKind:
    """What a source is: a registration makes it a reporter, whatever has none and is no sensor beats for itself."""
    if epoch == 0:
        return "sensor" if source in watcher.state.devices else "lone"
    return "pool" if source.startswith("pool-") else "node"


def _silence(watcher: Watcher, watch: PartitionWatch, source: str, topic_id: str) -> Iterator[Fact]:
    verdict = watch.silent[source]
    event = SourceFellSilent(
        source=source,
        kind=_kind_of(watcher, source, verdict.epoch),
        epoch=verdict.epoch,
        topic_id=topic_id,
        partition=watch.partition,
        from_offset=verdict.from_offset,
        until_offset=verdict.until_offset,
        silent_ms=verdict.silent_ms,
        limit_ms=verdict.limit_ms or watcher.policy.silence_limit_ms,
        postponed_ms=verdict.postponed_ms,
    )
    if not silence_fault(source_row(watcher.state, event), event):
        yield _silence_fact(event)


def _silence_fact(event: SourceFellSilent) -> Fact:
    parts: list[str | int] = [event.source, event.epoch, event.topic_id, event.partition, event.from_offset]
    # The same silence by another limit is another matter: the first may have been refused.
    limit = [event.limit_ms] if event.kind == "sensor" else []
    return Fact(derive_id("silent", *parts, *limit), event)


def _return(watcher: Watcher, watch: PartitionWatch, source: str, topic_id: str) -> Iterator[Fact]:
    """A real beat of a source that the log calls silent, or of a lone one it does not know."""
    session = watch.sessions[source]
    if source in watch.silent or session.last_offset < watch.begin or _is_as_known(watcher, session):
        return
    kind = _kind_of(watcher, source, session.epoch)
    if kind in ("node", "pool"):
        reported = watch.reports.get(source)
        if reported is None or reported.newest_offset != session.last_offset:
            return
    bridging = session.bridging
    if bridging is not None and bridging.waits:
        return
    expectation = bridging.beat_for if bridging is not None else 0
    yield from _return_fact(
        watcher, watch, (source, kind, session.epoch), session.last_offset, topic_id, expectation
    )


def _is_as_known(watcher: Watcher, session: Session) -> bool:
    """Whether a source beats for itself and the log says so: `return_fault` without an event, for a million ask."""
    row = watcher.state.sources.get(session.source)
    if row is None or session.epoch or session.source in watcher.state.devices:
        return False
    return not row.silent and not is_unheard(row)


def _return_fact(
    watcher: Watcher,
    watch: PartitionWatch,
    who: tuple[str, SourceKind, int],
    offset: int,
    topic_id: str,
    expectation: int = 0,
) -> Iterator[Fact]:
    source, kind, epoch = who
    event = SourceReturned(source, kind, epoch, topic_id, watch.partition, offset, expectation)
    if not return_fault(watcher.state, source_row(watcher.state, event), event):
        row = source_row(watcher.state, event)
        since = row.seen if row is not None else -1
        # One return per silence: the id is made of what it ends, so a later beat is the same fact.
        # An expectation that is over is refused for good, the next one is another matter.
        bridged = (expectation,) if expectation else ()
        yield Fact(derive_id("returned", source, epoch, topic_id, watch.partition, since, *bridged), event)


def _report_facts(
    watcher: Watcher, watch: PartitionWatch, reported: Reported, topic_id: str
) -> Iterator[Fact]:
    report = reported.report
    if isinstance(report, PoolReport):
        yield from _pool_facts(watcher, watch, report, reported.offset)
        return
    row = watcher.state.nodes.get(report.reporter)
    if row is None or row.registration != report.registration or row.status != "active":
        return
    position = Position(watch.partition, reported.offset)
    for entry in report.apps:
        yield from _app_facts(watcher, watch, row, entry, position, topic_id)
    yield from _lost_apps(watcher, row, report, position)


def _app_facts(
    watcher: Watcher, watch: PartitionWatch, node: NodeRow, entry: AppEntry, position: Position, topic_id: str
) -> Iterator[Fact]:
    app = watcher.state.apps.get(entry.app)
    if app is not None and may_take_over(watcher.state, app, node.node, entry.generation):
        yield from _standby_facts(node, entry, position)
        return
    if app is None or app.generation != entry.generation or not is_hosted(watcher.state, app):
        return
    if entry.status == "exited":
        if holds_slot(app):
            yield _exit_fact(
                AppExited(
                    entry.app,
                    entry.generation,
                    node.node,
                    "exited",
                    position,
                    entry.exit_code,
                    entry.reason[:DETAIL_MAX],
                )
            )
    elif entry.status == "running" and app.phase == "placed":
        yield _start_fact(AppStarted(entry.app, entry.generation, node.node, position))
    elif is_late(entry, watcher.policy):
        beat = watch.app_beats.get((entry.app, entry.generation), position.offset)
        event = SourceFellSilent(
            source=entry.app,
            kind="app",
            epoch=entry.generation,
            topic_id=topic_id,
            partition=watch.partition,
            from_offset=beat,
            until_offset=position.offset,
            silent_ms=entry.age_ms,
            limit_ms=watcher.policy.silence_limit_ms,
        )
        # An app that has not begun to beat is the planner's matter.
        if app.phase != "placed" and not silence_fault(source_row(watcher.state, event), event):
            yield _silence_fact(event)
    elif app.silent and entry.status != "starting":
        yield from _return_fact(
            watcher, watch, (entry.app, "app", entry.generation), position.offset, topic_id
        )


def _standby_facts(node: NodeRow, entry: AppEntry, position: Position) -> Iterator[Fact]:
    """What a report says of a copy that is made ready: it has beaten, or it has ended."""
    if entry.status == "running":
        yield _start_fact(AppStarted(entry.app, entry.generation, node.node, position))
    elif entry.status == "exited":
        yield _exit_fact(
            AppExited(entry.app, entry.generation, node.node, "exited", position, entry.exit_code)
        )


def _start_fact(event: AppStarted) -> Fact:
    return Fact(derive_id("started", event.app, event.generation), event)


def _lost_apps(watcher: Watcher, node: NodeRow, report: Report, position: Position) -> Iterator[Fact]:
    """Apps that ought to be there and that a report computed from orders naming them does not mention."""
    mentioned = {(entry.app, entry.generation) for entry in report.apps}
    for key in sorted(watcher.state.apps_of_node.get(node.node, ())):
        app = watcher.state.apps[key]
        if app.standby is not None and may_take_over(watcher.state, app, node.node, app.standby.generation):
            generation = app.standby.generation
        elif app.lineage == node.lineage and holds_slot(app):
            generation = app.generation
        else:
            continue
        if generation <= report.as_of and (key, generation) not in mentioned:
            yield _exit_fact(AppExited(key, generation, node.node, "lost", position))


def _exit_fact(event: AppExited) -> Fact:
    return Fact(derive_id("exited", event.app, event.generation), event)


def _pool_facts(watcher: Watcher, watch: PartitionWatch, report: PoolReport, offset: int) -> Iterator[Fact]:
    state, position = watcher.state, Position(watch.partition, offset)
    pool = state.pools.get(report.reporter)
    if pool is None or pool.registration != report.registration:
        return
    mentioned = {entry.order for entry in report.nodes}
    for entry in report.nodes:
        order = state.orders.get(str(entry.order))
        if entry.status == "exited" and order is not None and not order.ended:
            yield _node_exit(
                NodeExited(
                    entry.order,
                    report.reporter,
                    entry.node,
                    entry.reason or "exited",
                    position,
                    entry.exit_code,
                )
            )
    for made in sorted(state.orders_of_pool.get(report.reporter, ())):
        if made <= report.as_of and made not in mentioned and not state.orders[str(made)].ended:
            node = state.node_of_order.get(made, "")
            yield _node_exit(NodeExited(made, report.reporter, node, "unknown to its provisioner", position))


def _node_exit(event: NodeExited) -> Fact:
    return Fact(derive_id("node-exited", event.order), event)


def _share_facts(watcher: Watcher) -> Iterator[Fact]:
    """The share of overdue nodes, when it crossed a bound; of the leader's watcher only."""
    counted = watcher.count_overdue()
    if counted is None:
        return
    brake, term = watcher.state.brake, watcher.state.term.term
    band = band_of(*counted, watcher.policy)
    if band != brake.band:
        positions = [
            Position(watch.partition, watch.next_offset - 1) for _, watch in sorted(watcher.watches.items())
        ]
        yield Fact(
            derive_id("share", term, brake.band_at, band),
            OverdueShareChanged(term, band, counted[0], counted[1], positions),
        )


class FactOutbox:
    """Which facts to write now: each id once, again only if not read back in time, never after a refusal."""

    #: An id is written again if it was not read back within this time: over the producer's delivery bound.
    AGAIN_MS = 8_000
    #: A worker that does not lead leaves the leader this long to write a fact first.
    YIELD_MS = 150
    #: Refused ids remembered; older ones could at worst be written and refused once more.
    REFUSED_MAX = 10_000

    def __init__(self) -> None:
        self._found_ms: dict[str, int] = {}
        self._sent_ms: dict[str, int] = {}
        self._refused: dict[str, None] = {}

    def due(self, facts: list[Fact], *, now_ms: int, leads: bool, is_part: bool = False) -> list[Fact]:
        """The facts to write now, in order; the rest waits or is on its way.

        `is_part` says that the log may lack more than these: not all were looked at.
        """
        if not facts and not self._sent_ms and not is_part:
            # Most turns: nobody was heard, and nothing is on its way.
            self._found_ms.clear()
            return []
        ready = []
        for fact in facts:
            if fact.event_id in self._refused:
                continue
            found = self._found_ms.setdefault(fact.event_id, now_ms)
            sent = self._sent_ms.get(fact.event_id)
            if not leads and now_ms - found < self.YIELD_MS:
                continue
            if sent is None or now_ms - sent >= self.AGAIN_MS:
                self._sent_ms[fact.event_id] = now_ms
                ready.append(fact)
        current = {fact.event_id for fact in facts}
        self._found_ms = {
            key: at
            for key, at in self._found_ms.items()
            if key in current or (is_part and now_ms - at < self.AGAIN_MS)
        }
        self._sent_ms = {
            key: at for key, at in self._sent_ms.items() if key in current or now_ms - at < self.AGAIN_MS
        }
        return ready

    def read_back(self, event_id: str, *, accepted: bool) -> None:
        """What the fold made of a fact, whoever wrote it."""
        if accepted:
            self._found_ms.pop(event_id, None)
            return
        self._refused[event_id] = None
        while len(self._refused) > self.REFUSED_MAX:
            del self._refused[next(iter(self._refused))]
