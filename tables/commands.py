"""Commands to controllers as the fold sees them: which is in force, and what ought to stand on a topic. Pure.

One command is in force at a controller: the last one that was not refused. It stays what is desired when it is done,
so that a device that comes back knows what it ought to be.
"""

import msgspec

from sdk.contract.controllers import NOT_BOUND, NOT_YOURS, UNKNOWN_APP, Desired
from tables.device_rows import CommandRow
from tables.state import Key, State

#: A request that comes to the log this long after its time, by the asker's clock, is not carried out: more than clocks
#: of machines in order differ by, and little enough that nobody is surprised.
LATE_MS = 60_000
#: Commands of one controller that are kept to tell their askers how they ended; more have ended before the last one
#: was asked for only if something asks in a loop.
KEPT_MAX = 64


def command_in_force(state: State, controller: str) -> CommandRow | None:
    """The last command that counted, ended or not; None if there was none."""
    for command in reversed(state.commands_of.get(controller, ())):
        row = state.commands[command]
        if row.phase != "refused":
            return row
    return None


def desired_for(state: State, controller: str, *, topic_id: str) -> Desired | None:
    """What ought to stand under `desired` as of `state.offset`; None if nothing was ever wanted."""
    row = command_in_force(state, controller)
    if row is None:
        return None
    return Desired(
        command=row.command,
        value=msgspec.Raw(row.value.encode()),
        log=topic_id,
        as_of=state.offset,
        app=row.app,
        generation=row.generation,
        withdrawn=row.phase == "expired",
    )


def controllers_touched(keys: set[Key], state: State) -> set[str]:
    """The controllers whose desired record may differ after these rows changed."""
    touched = {key for table, key in keys if table == "devices" and key.startswith("controller-")}
    for table, key in keys:
        if table == "commands" and key in state.commands:
            touched.add(state.commands[key].controller)
    return touched


def asker_fault(state: State, app: str, generation: int, controller: str) -> str:
    """Why this copy of an app may not set this controller now; empty if it may. A person (no app) may."""
    if not app:
        return ""
    bound = state.bindings.get(app)
    row = state.apps.get(app)
    if bound is None and row is None:
        return f"{UNKNOWN_APP}no app {app!r:.80} is known, and no controller is bound to it"
    if bound is None or controller not in bound.controllers.values():
        holders = [
            name for name, it in sorted(state.bindings.items()) if controller in it.controllers.values()
        ]
        whose = f"; {', '.join(holders[:5])} has it" if holders else ""
        return f"{NOT_YOURS}{controller} is not bound to {app}{whose}"
    if generation and (row is None or row.generation != generation):
        now = f"{row.generation} is" if row is not None and row.generation else "none is"
        return f"generation {generation} of {app} is not in force, {now}"
    return ""


def index_fault(state: State, app: str, index: int) -> str:
    """Why an app has no controller at an index; empty if it has."""
    bound = state.bindings.get(app)
    if bound is None and app not in state.apps:
        return f"{UNKNOWN_APP}no app {app!r:.80} is known, and no controller is bound to it"
    if bound is None or str(index) not in bound.controllers:
        has = ", ".join(bound.controllers) if bound is not None and bound.controllers else "none"
        return f"{NOT_BOUND}{app} has no controller at index {index}; bound: {has}"
    return ""
