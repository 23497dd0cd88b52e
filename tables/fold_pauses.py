"""Fold of pauses of the watch. Pure; part of `tables.fold`. `TimerFired` takes the row of one whose time is over."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sdk.contract.events import Event, WatchPaused, WatchResumed
from tables.fold_requests import remember, request_fault
from tables.pauses import check_pause
from tables.rows import PauseRow, Wake
from tables.state import State

if TYPE_CHECKING:
    from tables.fold import Meta


def _paused(state: State, event: WatchPaused, meta: "Meta") -> str:
    """Begin a pause; one that is in force gets the new time."""
    if fault := request_fault(state, event.request):
        return fault
    try:
        check_pause(state, event.subject, event.for_ms)
    except ValueError as error:
        return str(error)
    old = state.pauses.get(event.subject)
    since_ms = meta.append_ms if old is None else old.since_ms
    wake = Wake(meta.offset, meta.append_ms + event.for_ms)
    state.put("pauses", event.subject, PauseRow(event.subject, since_ms, wake))
    remember(state, event.request, meta)
    return ""


def _resumed(state: State, event: WatchResumed, meta: "Meta") -> str:
    if fault := request_fault(state, event.request):
        return fault
    if event.subject not in state.pauses:
        return f"the watch over {event.subject} is not paused"
    state.drop("pauses", event.subject)
    remember(state, event.request, meta)
    return ""


PAUSE_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    WatchPaused: _paused,
    WatchResumed: _resumed,
}
