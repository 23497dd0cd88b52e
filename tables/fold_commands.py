"""Fold of commands to controllers, from the wish to its end. Pure; part of `tables.fold`.

A command whose asker may not ask is kept as refused, so that whoever waits for it hears so; it never was in force.
`TimerFired` ends the one whose time is over.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.controllers import check_for_ms, check_value
from sdk.contract.events import ControllerReported, ControllerSetRequested, Event
from tables.commands import KEPT_MAX, LATE_MS, asker_fault, command_in_force
from tables.device_rows import CommandPhase, CommandRow
from tables.fold_requests import remember, request_fault
from tables.rows import Wake
from tables.state import State

if TYPE_CHECKING:
    from tables.fold import Meta


def _set_requested(state: State, event: ControllerSetRequested, meta: "Meta") -> str:
    """Put a command in force, in place of the one before, or keep it as refused."""
    if fault := request_fault(state, event.request) or malformed_fault(state, event):
        return fault
    before = command_in_force(state, event.controller)
    row = CommandRow(
        event.request,
        event.controller,
        event.value,
        "desired",
        meta.offset,
        meta.append_ms,
        event.app,
        event.generation,
    )
    if fault := asker_fault(state, event.app, event.generation, event.controller) or off_fault(
        state, event.controller
    ):
        row = replace(row, value="null", phase="refused", reason=fault, ended_at_ms=meta.append_ms)
    else:
        if before is not None:
            _supersede(state, before, event.request, meta)
        late_ms = meta.append_ms - event.sent_at_ms - event.for_ms if event.sent_at_ms else 0
        if late_ms > LATE_MS:
            reason = f"it reached the log {late_ms // 1000} s after its time"
            row = replace(row, phase="expired", reason=reason, ended_at_ms=meta.append_ms)
        else:
            row = replace(row, wake=Wake(meta.offset, meta.append_ms + event.for_ms))
    state.put("commands", event.request, row)
    _forget_oldest(state, event.controller)
    remember(state, event.request, meta)
    return ""


def malformed_fault(state: State, event: ControllerSetRequested) -> str:
    """Why no command can be made of this, whoever asks."""
    device = state.devices.get(event.controller)
    if device is None or device.device.kind != "controller":
        return f"no controller {event.controller!r:.80}"
    try:
        check_value(event.value)
        check_for_ms(event.for_ms)
    except ValueError as error:
        return str(error)
    return ""


def off_fault(state: State, controller: str) -> str:
    """Why nothing may be wanted of a controller; empty if it may."""
    return "" if state.devices[controller].enabled else f"{controller} is switched off"


def _supersede(state: State, row: CommandRow, by: str, meta: "Meta") -> None:
    """A newer command takes the place of this one, and its value is of no use any more."""
    if row.phase == "desired":
        reason = f"superseded by command {by}"
        row = end_command(row, "rejected", reason=reason, at_ms=meta.append_ms)
    state.put("commands", row.command, replace(row, value="null"))


def end_command(row: CommandRow, phase: CommandPhase, *, at_ms: int, reason: str = "") -> CommandRow:
    """The row of a command that ends now."""
    return replace(row, phase=phase, reason=reason, ended_at_ms=at_ms, wake=None)


def expired(row: CommandRow, at_ms: int) -> CommandRow:
    """Its time is over, and its device has not acted."""
    reason = f"{row.controller} did not act in its time"
    return end_command(row, "expired", at_ms=at_ms, reason=reason)


def retire_commands(state: State, controller: str) -> None:
    """The controller is no more, and with it what was wanted of it."""
    for command in list(state.commands_of.get(controller, ())):
        state.drop("commands", command)


def _forget_oldest(state: State, controller: str) -> None:
    in_force = command_in_force(state, controller)
    kept = state.commands_of[controller]
    while len(kept) > KEPT_MAX:
        oldest = kept[0] if in_force is None or kept[0] != in_force.command else kept[1]
        state.drop("commands", oldest)


def _reported(state: State, event: ControllerReported, meta: "Meta") -> str:
    if fault := report_fault(state, event.controller, event.command):
        return fault
    try:
        check_value(event.value)
    except ValueError as error:
        return str(error)
    row = state.commands[event.command]
    row = end_command(row, event.outcome, reason=event.reason, at_ms=meta.append_ms)
    state.put("commands", event.command, replace(row, reported=event.value))
    return ""


def report_fault(state: State, controller: str, command: str) -> str:
    """Why a report about this command changes nothing; empty if it does: the command is in force and has not ended."""
    row = state.commands.get(command)
    if row is None or row.controller != controller:
        return f"no command {command!r:.80} to {controller}"
    return "" if row.phase == "desired" else f"command {command} has ended: {row.phase}"


COMMAND_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    ControllerSetRequested: _set_requested,
    ControllerReported: _reported,
}
