"""What the live planner would do about a silence under other rules, on a copy of the state. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sdk.contract.codec import Recorded, event_name
from sdk.contract.events import (
    AppDeclaredDown,
    AppPlaced,
    Decision,
    Event,
    NodeDeclaredDown,
    NodeExited,
    Position,
    SourceFellSilent,
)
from sdk.contract.ids import derive_id
from tables.decide import decide
from tables.fold import Meta, fold
from tables.rows import ONLY, PolicyRow
from tables.state import State

if TYPE_CHECKING:
    from streams.travel.again import Again
    from streams.travel.silences import Silence


def replan(watcher: Again, silence: Silence) -> None:
    """Note what the planner would do at once: how many apps are started again, and how many on nodes that are there.

    The copy of a silent node counts as gone at once, so that the time which destroying it takes is no part of this.
    """
    if silence.kind not in ("node", "app"):
        return
    state = _copy(watcher.state)
    state.put("policy", ONLY, PolicyRow(watcher.policy, state.policy_row.offset))
    apps = _apps_of(state, silence)
    _fold(state, silence, [_fact(silence)])
    live, watcher.state = watcher.state, state
    try:
        decided = decide(state, watcher)
        down = [each for each in decided if _condemns(each, silence)]
        silence.held = not down
        if not down:
            return
        silence.restarts = len(apps)
        if silence.kind == "app":
            silence.at_once = 1
            return
        _fold(state, silence, decided)
        if "destroy" in type(down[0]).__struct_fields__:
            row = state.nodes[silence.source]
            gone = NodeExited(
                row.order, row.pool, row.node, "destroyed", Position(silence.partition, silence.until_offset)
            )
            _fold(state, silence, [gone])
            decided += decide(state, watcher)
        silence.at_once = len({each.app for each in decided if isinstance(each, AppPlaced)} & apps)
    finally:
        watcher.state = live


def _copy(state: State) -> State:
    copy = State()
    copy.load(state.all_rows(), offset=state.offset, now_ms=state.now_ms)
    return copy


def _apps_of(state: State, silence: Silence) -> set[str]:
    """The apps that a silence takes along."""
    if silence.kind == "app":
        return {silence.source}
    return {
        app
        for app in state.apps_of_node.get(silence.source, ())
        if state.apps[app].wanted and state.apps[app].node == silence.source
    }


def _fact(silence: Silence) -> SourceFellSilent:
    return SourceFellSilent(
        silence.source,
        silence.kind,
        silence.epoch,
        "recorded",
        silence.partition,
        silence.from_offset,
        silence.until_offset,
        silence.silent_ms,
        silence.limit_ms,
    )


def _condemns(decision: Decision, silence: Silence) -> bool:
    match decision:
        case NodeDeclaredDown():
            return (decision.node, decision.registration) == (silence.source, silence.epoch)
        case AppDeclaredDown():
            return (decision.app, decision.generation) == (silence.source, silence.epoch)
    return False


def _fold(state: State, silence: Silence, events: Iterable[Event]) -> None:
    """Fold events that nobody wrote behind those of the copy."""
    for event in events:
        offset = state.offset + 1
        recorded = Recorded(derive_id("again", offset), event_name(event), "", "again", event)
        fold(state, recorded, Meta(offset, max(silence.found_ms, state.now_ms)))
