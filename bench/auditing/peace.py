"""Whoever is accused, ended or doubled must have been disturbed: the log against the journal. Pure.

1. Judged are the roots: silences, ends and orders given up. What follows from them is the fold's business.
2. A broker that was away excuses workers only: the clock stands still for everybody else (DESIGN 6).
3. While the machine did not let a process run that had little to do, nobody is judged: a slow machine is no
   violation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.auditing.journal import BROKER, MACHINE, PROVISIONER, Truth
from bench.auditing.recorded import Heard
from sdk.contract import events as e
from sdk.contract.events import Event
from tables.fold import Meta
from tables.state import State, holds_slot, is_hosted
from tests.simulation.log_rules import Finding
from tests.simulation.silence_check import is_beat

#: A silence may begin this long after a trouble: clients reconnect within 6.3 s, and a report is due in 2.5 s.
RECONNECT_MS: Final = 10_000
#: Alarms and ends may be told this long after a trouble: a node that was cut tells them when it is back.
ACCUSED_MS: Final = 25_000
ENDED_MS: Final = 30_000
#: A worker that lost its broker may be silent until it has its place again.
WORKER_MS: Final = 60_000
#: A process must be gone this soon after its end was told: looks are 0.5 s apart.
SEEN_AFTER_MS: Final = 3_000
#: Stalls of the machine excuse everything for so long.
STALL_MS: Final = 30_000
#: What was appended so long ago is known to whoever decides.
KNOWN_MS: Final = 4_500
#: Time in peace after which a copy that was replaced must be gone.
SUPERSEDED_MS: Final = 20_000


class Peace:
    """The truth of one run, asked about each event before the fold takes it."""

    def __init__(self, truth: Truth, state: State, heartbeats: Sequence[Sequence[Heard]]) -> None:
        self._truth = truth
        self._state = state
        self._heartbeats = heartbeats
        #: App -> generations with their append time and node, oldest first.
        self._placed: dict[str, list[tuple[int, int, str]]] = {}
        #: Apps that ever were to stop on isolation: their copies may start again.
        self._may_park: set[str] = set()

    def judge(self, event: Event, at_ms: int) -> Finding | None:
        """What the truth has against an event, if the fold accepts it."""
        if self._was_stalled(at_ms):
            return None
        match event:
            case e.SourceFellSilent():
                return self._judge_silence(event, at_ms)
            case e.AppExited():
                return self._judge_exit(event, at_ms)
            case e.NodeExited():
                return self._judge_node_exit(event, at_ms)
            case e.AppDeclaredDown(reason="never-beat") if not self._is_excused_app(event.app, at_ms):
                return Finding("no death of what lives", f"{event}")
            case e.NodeOrderWithdrawn() if not self._touched([PROVISIONER, BROKER], at_ms, ENDED_MS):
                return Finding("nodes that are ordered come", f"{event}")
            case e.NodeDeclaredDown(reason="silent"):
                return self._judge_down(event, at_ms)
            case e.OverdueShareChanged() if event.band != "calm":
                return self._judge_share(event, at_ms)
            case _:
                return None

    def note(self, event: Event, meta: Meta) -> None:
        """An event counted."""
        if isinstance(event, e.AppPlaced):
            self._placed.setdefault(event.app, []).append((meta.offset, meta.append_ms, event.node))
        if isinstance(event, e.AppSubmitted) and event.spec.on_isolation == "stop":
            self._may_park.add(event.spec.app)

    def _was_stalled(self, at_ms: int) -> bool:
        return self._touched([MACHINE], at_ms, STALL_MS)

    def _touched(self, names: Sequence[str], at_ms: int, within_ms: int) -> bool:
        return self._truth.any_touched(names, from_ms=at_ms - within_ms, until_ms=at_ms)

    # --- silence and ends ---------------------------------------------------------------------------

    def _judge_silence(self, event: e.SourceFellSilent, at_ms: int) -> Finding | None:
        """Something must have been done to it while it said nothing, whenever that was told."""
        records = self._heartbeats[event.partition]
        until_ms = records[event.until_offset].timestamp
        begun_ms = records[max(0, event.from_offset)].timestamp
        from_ms = min(begun_ms, until_ms - event.silent_ms) - RECONNECT_MS
        names = [event.source]
        if event.kind == "pool":
            names = [PROVISIONER]
        elif event.kind == "lone":
            names, from_ms = [event.source.removeprefix("service-"), BROKER], at_ms - WORKER_MS
        if self._truth.any_touched(names, from_ms=from_ms, until_ms=until_ms):
            return None
        return Finding("no silence of who speaks", f"{event}")

    def _is_excused_app(self, app: str, at_ms: int) -> bool:
        row = self._state.apps.get(app)
        names = [app] + ([row.node] if row else [])
        return self._touched(names, at_ms, ENDED_MS)

    def _judge_exit(self, event: e.AppExited, at_ms: int) -> Finding | None:
        for life in self._truth.lives:
            is_copy = (life.name, life.epoch) == (event.app, event.generation)
            if is_copy and life.last_ms > at_ms + SEEN_AFTER_MS:
                return Finding("no end of what lives", f"{event} but pid {life.pid} ran on")
        if self._is_excused_app(event.app, at_ms):
            return None
        return Finding("no end of what nobody touched", f"{event}")

    def _judge_node_exit(self, event: e.NodeExited, at_ms: int) -> Finding | None:
        for life in self._truth.lives:
            if life.name == event.node and life.epoch == 0 and life.last_ms > at_ms + SEEN_AFTER_MS:
                return Finding("no end of what lives", f"{event} but pid {life.pid} ran on")
        row = self._state.nodes.get(event.node)
        if row is None or row.status != "active" or self._touched([event.node], at_ms, ACCUSED_MS):
            return None
        return Finding("no end of what nobody touched", f"{event}")

    # --- decisions ----------------------------------------------------------------------------------

    def _judge_down(self, event: e.NodeDeclaredDown, at_ms: int) -> Finding | None:
        row = self._state.nodes.get(event.node)
        if row is None:
            return None
        if not self._touched([BROKER], at_ms, 30_000):
            known_ms = at_ms - KNOWN_MS
            for record in reversed(self._heartbeats[row.partition]):
                if record.offset <= row.seen or record.timestamp < known_ms - 20_000:
                    break
                if record.timestamp < known_ms and is_beat(
                    record.value, event.node, event.registration, row.claim
                ):
                    return Finding("no act on a silence that is over", f"{event}; it beat at {record.offset}")
        return self._judge_brake(event, at_ms)

    def _judge_brake(self, event: e.NodeDeclaredDown, at_ms: int) -> Finding | None:
        """Most nodes away for long, with broker and workers in peace: then the brake must be on."""
        state = self._state
        workers = [
            name for trouble in self._truth.troubles for name in trouble.names if name.startswith("worker")
        ]
        if (
            state.brake.engaged >= 0
            or state.brake.overridden
            or self._touched([BROKER, *workers], at_ms, 40_000)
        ):
            return None
        nodes = [
            row.node
            for row in state.nodes.values()
            if row.status == "active" and not state.orders[str(row.order)].ended
        ]
        bound_ms = at_ms - state.policy.silence_limit_ms + 1_000
        gone = [
            node
            for node in nodes
            if (since_ms := self._truth.mute_since_ms(node, at_ms)) is not None and since_ms < bound_ms
        ]
        is_most = len(gone) * 100 > state.policy.brake_share_percent * len(nodes)
        if len(nodes) >= state.policy.brake_nodes_min and is_most:
            return Finding("brake holds", f"{event} with {len(gone)} of {len(nodes)} nodes away")
        return None

    def _judge_share(self, event: e.OverdueShareChanged, at_ms: int) -> Finding | None:
        nodes = [row.node for row in self._state.nodes.values() if row.status == "active"]
        return None if self._touched(nodes, at_ms, ACCUSED_MS) else Finding("no alarm in peace", f"{event}")

    # --- processes ----------------------------------------------------------------------------------

    def judge_processes(self) -> list[Finding]:
        """Copies that were started twice, or ran on beside their successor; workers that ended by themselves."""
        return [*self._started_twice(), *self._superseded(), *self._strange_deaths()]

    def _started_twice(self) -> list[Finding]:
        seen: dict[tuple[str, int], int] = {}
        found = []
        for life in self._truth.lives:
            key = (life.name, life.epoch)
            if life.epoch and key in seen and life.name not in self._may_park:
                found.append(Finding("a copy is started once", f"{key} as pid {seen[key]} and {life.pid}"))
            seen[key] = life.pid
        return found

    def _superseded(self) -> list[Finding]:
        found = []
        for life in self._truth.lives:
            placed = self._placed.get(life.name, [])
            own = next((it for it in placed if it[0] == life.epoch), None)
            later = next((it for it in placed if it[0] > life.epoch), None)
            if own is None or later is None or self._was_stalled(life.last_ms):
                continue
            names = {own[2], life.name, BROKER}
            troubled = [
                min(it.end_ms or life.last_ms, life.last_ms)
                for it in self._truth.troubles
                if names.intersection(it.names) and it.begin_ms <= life.last_ms
            ]
            over_ms = life.last_ms - max([later[1], *troubled])
            if over_ms > SUPERSEDED_MS:
                found.append(Finding("no superseded copy", f"{life} ran on for {over_ms} ms"))
        return found

    def _strange_deaths(self) -> list[Finding]:
        return [
            Finding("workers live", f"{death} and nobody touched it")
            for death in self._truth.deaths
            if not self._touched([death.name, BROKER], death.at_ms, WORKER_MS)
            and not self._was_stalled(death.at_ms)
        ]


def unhealed(state: State) -> str:
    """What is not well yet by the log; empty if everything is."""
    for pool in state.pools.values():
        rows = [row for row in state.nodes.values() if row.pool == pool.pool and row.status == "active"]
        staying = [row for row in rows if not row.draining]
        # More than wanted is allowed: a node that came back serves as a free one.
        if len(staying) < pool.nodes or len(staying) < len(rows) or any(row.silent for row in rows):
            return f"{pool.pool} has {len(staying)} of {pool.nodes} nodes, {len(rows)} in all"
        if pool.silent:
            return f"the provisioner of {pool.pool} is silent"
    for app, row in state.apps.items():
        if (
            row.wanted
            and not row.gave_up
            and not (row.phase == "running" and not row.silent and is_hosted(state, row))
        ):
            return f"{app} is {row.phase}, {row.pending_reason or 'placed'}, silent {row.silent}"
        # One that was to stop and whose node died first has stopped too.
        if not row.wanted and holds_slot(row) and is_hosted(state, row):
            return f"{app} is {row.phase} and not wanted"
    for source in state.sources.values():
        if source.silent:
            return f"{source.source} is silent"
    if state.brake.engaged >= 0 or state.brake.band != "calm":
        return f"the brake: {state.brake}"
    return ""
