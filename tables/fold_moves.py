"""Fold of apps that move, each made ready on another node before it stops here. Pure; part of `tables.fold`.

The copy that is made ready is a *standby*: it has a generation of its own, which is not in force. Its first beat is an
`AppStarted` like any other; with that record its generation is in force, and the other one is not any more. So there
is one generation in force at every offset, and what the old copy says or asks for from there on is dropped.

A standby stands beside a copy that runs, and beside nothing else: whatever ends or stops that copy drops it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.events import (
    AppExited,
    AppMoveRequested,
    AppPrepared,
    AppStandbyDropped,
    AppStarted,
    Event,
    NodeDrainRequested,
)
from tables.fold_nodes import term_fault, wake_of
from tables.fold_requests import remember, request_fault
from tables.questions import has_standby_on, taken_on
from tables.room import capacity_of, need_of, runs_once
from tables.rows import AppRow, NodeRow, Standby, Wake
from tables.state import State, is_hosted, wants_away

if TYPE_CHECKING:
    from tables.fold import Meta


def _move_requested(state: State, event: AppMoveRequested, meta: "Meta") -> str:
    row = state.apps.get(event.app)
    if fault := request_fault(state, event.request) or ("" if row else f"no app {event.app}"):
        return fault
    assert row is not None
    if row.phase != "running" or not row.wanted:
        return "it does not run"
    if runs_once(row):
        return "it runs once"
    new = replace(row, moving=True, move_to=event.node, standby_failed=False)
    if row.standby is not None and event.node not in ("", row.standby.node):
        new = without_standby(new)
    state.put("apps", event.app, new)
    remember(state, event.request, meta)
    return ""


def _drain_requested(state: State, event: NodeDrainRequested, meta: "Meta") -> str:
    """Cordon a node and let its apps go; they are stopped first with `force`, or when the policy's time has passed."""
    row = state.nodes.get(event.node)
    if fault := request_fault(state, event.request):
        return fault
    if row is None or row.status != "active":
        return f"no active node {event.node}"
    forced = event.force or row.forced
    wake = row.wake if row.emptying else Wake(meta.offset, meta.append_ms + state.policy.drain_within_ms)
    state.put(
        "nodes",
        event.node,
        replace(
            row, cordoned=True, emptying=True, forced=forced, quarantined=False, wake=None if forced else wake
        ),
    )
    remember(state, event.request, meta)
    return ""


def _prepared(state: State, event: AppPrepared, meta: "Meta") -> str:
    if fault := term_fault(state, event.term) or _prepare_fault(state, event):
        return fault
    node, row = state.nodes[event.node], state.apps[event.app]
    standby = Standby(meta.offset, event.node, node.lineage, row.spec)
    state.put(
        "apps",
        event.app,
        replace(row, standby=standby, pending_reason="", fell_out={}, wake=wake_of(event.wake_ms, meta)),
    )
    return ""


def _prepare_fault(state: State, event: AppPrepared) -> str:
    row = state.apps.get(event.app)
    node = state.nodes.get(event.node)
    if row is None or row.generation != event.beside or not is_hosted(state, row):
        return f"generation {event.beside} is not in force"
    if row.standby is not None or row.standby_failed or not wants_away(state, row):
        return "it is not to move"
    if node is None or node.status != "active" or node.registration != event.registration:
        return f"registration {event.registration} of {event.node} is not in force"
    if event.node == row.node or not takes_apps(node):
        return f"{event.node} takes no apps"
    if not need_of(row.spec).fits(capacity_of(node).minus(taken_on(state, event.node))):
        return f"{event.node} has no room"
    return ""


def takes_apps(node: NodeRow) -> bool:
    """Whether an active node may be given apps."""
    return not (node.draining or node.silent or node.cordoned or node.quarantined or node.spare)


def _standby_dropped(state: State, event: AppStandbyDropped, _meta: "Meta") -> str:
    row = state.apps.get(event.app)
    if fault := term_fault(state, event.term):
        return fault
    if row is None or row.standby is None or row.standby.generation != event.generation:
        return f"generation {event.generation} is not being made ready"
    new = without_standby(row)
    if event.reason == "never-beat":
        new = _given_up(new, "it never beat")
    state.put("apps", event.app, new)
    return ""


def _given_up(row: AppRow, why: str) -> AppRow:
    """The row after a move that came to nothing: the copy in force stays until somebody asks again."""
    return replace(
        row, moving=False, move_to="", standby_failed=True, pending_reason=f"the last move failed: {why}"
    )


def without_standby(row: AppRow) -> AppRow:
    """The row without the copy that was being made ready, and without its wake."""
    return row if row.standby is None else replace(row, standby=None, wake=None)


def may_take_over(state: State, row: AppRow, node: str, generation: int) -> bool:
    """Whether this is the standby of a copy that runs undisturbed on a living node, on its own living node."""
    standby, host = row.standby, state.nodes.get(node)
    if standby is None or host is None or (standby.node, standby.generation) != (node, generation):
        return False
    return host.status == "active" and has_standby_on(row, host) and is_hosted(state, row)


def take_over(row: AppRow, event: AppStarted, meta: "Meta") -> AppRow:
    """The row with its standby in force, from its first beat on."""
    standby = row.standby
    assert standby is not None
    return replace(
        settled(row),
        phase="running",
        since_ms=meta.append_ms,
        started_at_ms=meta.append_ms,
        generation=event.generation,
        node=standby.node,
        lineage=standby.lineage,
        placed_spec=standby.spec,
        silent=False,
        seen=-1,
        exit_code=None,
        end_reason="",
        pending_reason="",
        fell_out={},
    )


def settled(row: AppRow) -> AppRow:
    """The row of an app that goes nowhere: no standby, no wish to move, no failed one."""
    if row.standby is None and not (row.moving or row.move_to or row.standby_failed):
        return row
    return replace(without_standby(row), moving=False, move_to="", standby_failed=False)


def standby_exited(row: AppRow, event: AppExited) -> AppRow:
    """The row after its standby ended: a failure of the move, not of the app."""
    code = "" if event.exit_code is None else f" with {event.exit_code}"
    return _given_up(
        without_standby(row), f"the copy on {event.node} {event.reason}{code} before it took over"
    )


MOVE_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    AppMoveRequested: _move_requested,
    NodeDrainRequested: _drain_requested,
    AppPrepared: _prepared,
    AppStandbyDropped: _standby_dropped,
}
