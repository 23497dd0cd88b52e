r"""Fold of everything about apps and services. Pure; part of `tables.fold`.

The life of a generation; `TRANSITIONS` is this picture, read by the invariants and the tests:

    pending --placed--> placed --started--> running --declared down--> condemned
       ^                  |  \--never beat--------------------------------^  |
       |                  |                    |                             |
       +-- wanted again   +----- exited -------+-------- exited -------------+--> ended --placed--> placed
                          |- not wanted: stopped                                    (next generation)
                          `- not to be run again (`restart`): finished
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.events import (
    AppDeclaredDown,
    AppExited,
    AppFinished,
    AppGaveUp,
    AppHeldBack,
    AppLeftPending,
    AppPlaced,
    AppRestartRequested,
    AppStarted,
    AppStopRequested,
    AppSubmitted,
    Event,
)
from sdk.contract.specs import check_spec
from tables.fold_grants import use_grant
from tables.fold_moves import may_take_over, settled, standby_exited, take_over, takes_apps
from tables.fold_nodes import term_fault, wake_of
from tables.fold_requests import remember, request_fault
from tables.needs import need_fault
from tables.pauses import is_app_paused
from tables.questions import granted_room, may_replace, taken_on
from tables.room import capacity_of, need_of, placed_spec_of, runs_once
from tables.rows import AppRow
from tables.state import State, holds_slot, is_hosted, waiting_words

if TYPE_CHECKING:
    from tables.fold import Meta

#: Phase -> phases that may follow it.
TRANSITIONS: dict[str, frozenset[str]] = {
    "pending": frozenset({"placed", "stopped"}),
    "placed": frozenset({"placed", "running", "condemned", "ended", "finished", "stopped"}),
    "running": frozenset({"placed", "condemned", "ended", "finished", "stopped"}),
    "condemned": frozenset({"placed", "ended", "finished", "stopped"}),
    "ended": frozenset({"placed", "stopped"}),
    "finished": frozenset({"pending", "stopped"}),
    "stopped": frozenset({"pending"}),
}

#: Nodes remembered as places where an app failed: enough to try three others before coming back.
_FAILED_ON_MAX = 3


def _submitted(state: State, event: AppSubmitted, meta: "Meta") -> str:
    if fault := request_fault(state, event.request):
        return fault
    try:
        check_spec(event.spec)
    except ValueError as error:
        return str(error)
    if fault := need_fault(state, event.spec):
        return fault
    row = state.apps.get(event.spec.app)
    if row is None:
        new = AppRow(
            app=event.spec.app,
            spec=event.spec,
            wanted=True,
            phase="pending",
            since_ms=meta.append_ms,
            submitted_at_ms=meta.append_ms,
            grant=event.grant,
        )
    elif is_done(row) or not is_hosted(state, row):
        new = replace(row, spec=event.spec, wanted=True, gave_up=False, strikes=0, recent_failures=[])
        if is_done(row):
            new = replace(new, phase="pending", since_ms=meta.append_ms, wake=None, grant=event.grant)
        elif holds_slot(row) and runs_once(row):
            # Its copy is lost, and somebody wants another run.
            new = replace(new, restarting=True)
    else:
        new = replace(row, spec=event.spec, wanted=True, gave_up=False)
    state.put("apps", event.spec.app, new)
    if event.spec.app in state.bridged:
        # Its second row: from here on its agent watches it, and nobody expects it as a lone source.
        state.drop("sources", event.spec.app)
    remember(state, event.request, meta)
    return ""


def is_done(row: AppRow) -> bool:
    """Whether the app has ended and nothing but a request runs it again."""
    return row.phase in ("stopped", "finished")


def _stop_requested(state: State, event: AppStopRequested, meta: "Meta") -> str:
    row = state.apps.get(event.app)
    if fault := request_fault(state, event.request) or ("" if row else f"no app {event.app}"):
        return fault
    assert row is not None
    new = replace(settled(row), wanted=False, gave_up=False, pending_reason="", fell_out={}, grant=0)
    if not (holds_slot(row) and is_hosted(state, row)):
        new = replace(new, phase="stopped", since_ms=meta.append_ms, wake=None, silent=False)
    state.put("apps", event.app, new)
    remember(state, event.request, meta)
    return ""


def _restart_requested(state: State, event: AppRestartRequested, meta: "Meta") -> str:
    row = state.apps.get(event.app)
    if fault := request_fault(state, event.request) or ("" if row else f"no app {event.app}"):
        return fault
    assert row is not None
    new = replace(settled(row), wanted=True, gave_up=False, strikes=0, recent_failures=[])
    if is_done(row):
        new = replace(new, phase="pending", since_ms=meta.append_ms, wake=None)
    elif row.phase == "ended":
        new = replace(new, wake=None, end_reason="restart")
    elif holds_slot(row):
        new = replace(new, restarting=True)
    state.put("apps", event.app, new)
    remember(state, event.request, meta)
    return ""


def _placed(state: State, event: AppPlaced, meta: "Meta") -> str:
    """Place an app; also uses up its grant, wherever it was placed."""
    if fault := term_fault(state, event.term) or _placement_fault(state, event):
        return fault
    node, row = state.nodes[event.node], state.apps[event.app]
    use_grant(state, row)
    state.put(
        "apps",
        event.app,
        replace(
            settled(row),
            phase="placed",
            since_ms=meta.append_ms,
            generation=meta.offset,
            node=event.node,
            lineage=node.lineage,
            placed_spec=row.spec,
            restarting=False,
            silent=False,
            seen=-1,
            exit_code=None,
            end_reason="",
            end_detail="",
            pending_reason="",
            grant=0,
            fell_out={},
            wake=wake_of(event.wake_ms, meta),
        ),
    )
    return ""


def _placement_fault(state: State, event: AppPlaced) -> str:
    row = state.apps.get(event.app)
    node = state.nodes.get(event.node)
    if row is None or not row.wanted or row.gave_up:
        return f"{event.app} is not wanted"
    if row.generation != event.replaces:
        return f"generation {event.replaces} is not in force"
    if not may_replace(state, row):
        return f"generation {row.generation} has not ended"
    if node is None or node.status != "active" or node.registration != event.registration:
        return f"registration {event.registration} of {event.node} is not in force"
    if not takes_apps(node):
        return f"{event.node} takes no apps"
    if waiting := waiting_words(state, row):
        return f"{event.app} {waiting}"
    if event.reason in ("failure", "node-down") and is_app_paused(state, row):
        return f"the watch over {event.app} is paused"
    free = capacity_of(node).minus(taken_on(state, event.node)).plus(granted_room(state, row, event.node))
    if not need_of(row.spec).fits(free):
        return f"{event.node} has no room"
    return ""


def _copy_in_force(state: State, event: AppStarted | AppExited) -> AppRow | None:
    """The row of the app if the fact is about its generation in force, on the node that hosts it."""
    row = state.apps.get(event.app)
    if row is None or row.generation != event.generation or row.node != event.node:
        return None
    return row if is_hosted(state, row) else None


def _started(state: State, event: AppStarted, meta: "Meta") -> str:
    standby = state.apps.get(event.app)
    if standby is not None and may_take_over(state, standby, event.node, event.generation):
        state.put("apps", event.app, take_over(standby, event, meta))
        return ""
    row = _copy_in_force(state, event)
    if row is None:
        return f"generation {event.generation} is not in force"
    if row.phase != "placed":
        return f"it is {row.phase}"
    state.put(
        "apps",
        event.app,
        replace(row, phase="running", since_ms=meta.append_ms, started_at_ms=meta.append_ms, wake=None),
    )
    return ""


def _exited(state: State, event: AppExited, meta: "Meta") -> str:
    standby = state.apps.get(event.app)
    if standby is not None and may_take_over(state, standby, event.node, event.generation):
        state.put("apps", event.app, standby_exited(standby, event))
        return ""
    row = _copy_in_force(state, event)
    if row is None:
        return f"generation {event.generation} is not in force"
    if not holds_slot(row):
        return f"it is {row.phase}"
    node = state.nodes[row.node]
    new = replace(
        settled(row),
        phase="ended" if row.wanted else "stopped",
        since_ms=meta.append_ms,
        exit_code=event.exit_code,
        end_reason=event.reason,
        end_detail=event.detail,
        silent=False,
        wake=None,
    )
    if not row.wanted:
        pass
    elif row.restarting:
        new = replace(new, end_reason="restart", restarting=False)
    elif _is_final(row, event, emptied=node.draining or node.forced):
        new = replace(new, phase="finished", wanted=False, pending_reason="", fell_out={})
        if row.phase == "condemned":
            new = replace(new, end_reason=row.end_reason)
    elif node.draining or node.forced:
        new = replace(new, end_reason="moved")
    elif row.phase != "condemned":
        new = _with_failure(state, new, meta)
    else:
        new = replace(new, end_reason=row.end_reason)
    state.put("apps", event.app, new)
    return ""


def _is_final(row: AppRow, event: AppExited, *, emptied: bool) -> bool:
    """Whether the end of the copy in force is the end of the app, by the spec that the copy was placed with.

    A copy that was condemned, or whose node is emptied, was ended by the platform: whatever its exit says, its work is
    not done.
    """
    restart = placed_spec_of(row).restart
    if restart == "on-failure" and row.phase != "condemned" and not emptied:
        return event.reason == "exited" and event.exit_code == 0
    return restart == "never"


def _finished(state: State, event: AppFinished, meta: "Meta") -> str:
    row = state.apps.get(event.app)
    if fault := term_fault(state, event.term):
        return fault
    if row is None or row.generation != event.generation or not row.wanted:
        return f"generation {event.generation} is not in force"
    if is_app_paused(state, row):
        return f"the watch over {event.app} is paused"
    if row.restarting or not (runs_once(row) and holds_slot(row) and may_replace(state, row)):
        return "it is not over"
    state.put(
        "apps",
        event.app,
        replace(
            settled(row),
            phase="finished",
            wanted=False,
            since_ms=meta.append_ms,
            silent=False,
            restarting=False,
            end_reason=event.reason,
            pending_reason="",
            fell_out={},
            wake=None,
        ),
    )
    return ""


def _with_failure(state: State, row: AppRow, meta: "Meta") -> AppRow:
    """The row with one more failure of its own: once per generation, at its first end."""
    policy = state.policy
    good = row.started_at_ms > 0 and meta.append_ms - row.started_at_ms >= policy.app_good_run_ms
    since = meta.append_ms - policy.app_give_up_window_ms
    recent = [at for at in row.recent_failures if at > since] + [meta.append_ms]
    return replace(
        row,
        failures=row.failures + 1,
        strikes=1 if good else row.strikes + 1,
        recent_failures=recent[-policy.app_give_up_after :],
        failed_on=[*(node for node in row.failed_on if node != row.node), row.node][-_FAILED_ON_MAX:],
        started_at_ms=0,
    )


def _declared_down(state: State, event: AppDeclaredDown, meta: "Meta") -> str:
    row = state.apps.get(event.app)
    if fault := term_fault(state, event.term):
        return fault
    if row is None or row.generation != event.generation or not is_hosted(state, row):
        return f"generation {event.generation} is not in force"
    if is_app_paused(state, row):
        return f"the watch over {event.app} is paused"
    if event.reason == "silent" and not (row.phase == "running" and row.silent):
        return "it is not silent"
    if event.reason == "never-beat" and not (
        row.phase == "placed" and row.wake is not None and row.wake.fired
    ):
        return "its time to start has not passed"
    new = replace(
        settled(row),
        phase="condemned",
        since_ms=meta.append_ms,
        end_reason=event.reason,
        wake=wake_of(event.wake_ms, meta),
    )
    state.put("apps", event.app, _with_failure(state, new, meta))
    return ""


def _held_back(state: State, event: AppHeldBack, meta: "Meta") -> str:
    if fault := term_fault(state, event.term) or _failed_fault(state, event.app, event.generation):
        return fault
    row = state.apps[event.app]
    if row.wake is not None and event.based_on < row.wake.set_at:
        return "it was held back already"
    state.put("apps", event.app, replace(row, phase="ended", silent=False, wake=wake_of(event.wake_ms, meta)))
    return ""


def _gave_up(state: State, event: AppGaveUp, meta: "Meta") -> str:
    if fault := term_fault(state, event.term) or _failed_fault(state, event.app, event.generation):
        return fault
    row = state.apps[event.app]
    state.put(
        "apps",
        event.app,
        replace(row, phase="ended", silent=False, since_ms=meta.append_ms, gave_up=True, wake=None),
    )
    return ""


def _failed_fault(state: State, app: str, generation: int) -> str:
    """Why a failure of `generation` cannot be judged, or an empty string."""
    row = state.apps.get(app)
    if row is None or row.generation != generation or not row.wanted or row.gave_up:
        return f"generation {generation} is not in force"
    if row.phase not in ("ended", "condemned") or not may_replace(state, row):
        return "it has not ended"
    if is_app_paused(state, row):
        return f"the watch over {app} is paused"
    return ""


def _left_pending(state: State, event: AppLeftPending, _meta: "Meta") -> str:
    row = state.apps.get(event.app)
    if fault := term_fault(state, event.term):
        return fault
    if row is None or not row.wanted or row.pending_reason == event.reason:
        return "nothing new"
    state.put("apps", event.app, replace(row, pending_reason=event.reason, fell_out=event.fell_out))
    return ""


APP_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    AppSubmitted: _submitted,
    AppStopRequested: _stop_requested,
    AppRestartRequested: _restart_requested,
    AppPlaced: _placed,
    AppStarted: _started,
    AppExited: _exited,
    AppDeclaredDown: _declared_down,
    AppHeldBack: _held_back,
    AppGaveUp: _gave_up,
    AppFinished: _finished,
    AppLeftPending: _left_pending,
}
