"""The fold: one pass over the log, in its order, that decides what is valid. Pure.

Rules:
1. `fold` is the only way to compute state; live, recovery, replay and tests call it.
2. A record that is stale, doubled or out of turn is dropped with a reason and counted; it never raises. A
   handler checks everything before it changes the first row.
3. A validity rule never changes for an existing event version: a new rule is a new version.
4. Records at or below `State.offset` are ignored, so any stretch of the log may be folded again.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from sdk.contract.codec import Recorded
from sdk.contract.events import Event
from tables.fold_apps import APP_HANDLERS
from tables.fold_commands import COMMAND_HANDLERS
from tables.fold_control import CONTROL_HANDLERS
from tables.fold_devices import DEVICE_HANDLERS
from tables.fold_grants import GRANT_HANDLERS
from tables.fold_hashes import HASH_HANDLERS
from tables.fold_moves import MOVE_HANDLERS
from tables.fold_nodes import NODE_HANDLERS
from tables.fold_notifications import NOTIFICATION_HANDLERS
from tables.fold_pauses import PAUSE_HANDLERS
from tables.fold_sources import SOURCE_HANDLERS
from tables.fold_spares import SPARE_HANDLERS
from tables.fold_standing import STANDING_HANDLERS
from tables.rows import CounterRow
from tables.state import State

#: Grows when the rules below change; a worker with an older fold does not lead.
FOLD_VERSION = 8


class Meta(msgspec.Struct, frozen=True, gc=False):
    """Where and when a record was appended."""

    offset: int
    #: Append time of the broker, ms UTC; handlers get the largest so far.
    append_ms: int


class Outcome(msgspec.Struct, frozen=True):
    """What the fold made of one record."""

    #: Why it was dropped; empty if it counted.
    dropped: str = ""
    #: A rule raised instead of answering: a bug of ours, and a dead letter.
    raised: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the record changed what is true."""
        return not self.dropped


_ACCEPTED = Outcome()

#: Event type -> handler; a handler changes rows and returns "", or changes nothing and returns the reason.
_HANDLERS: dict[type[Event], Callable[[State, Any, Meta], str]] = {
    **NODE_HANDLERS,
    **APP_HANDLERS,
    **CONTROL_HANDLERS,
    **GRANT_HANDLERS,
    **STANDING_HANDLERS,
    **SPARE_HANDLERS,
    **SOURCE_HANDLERS,
    **MOVE_HANDLERS,
    **PAUSE_HANDLERS,
    **DEVICE_HANDLERS,
    **NOTIFICATION_HANDLERS,
    **COMMAND_HANDLERS,
    **HASH_HANDLERS,
}


def fold(state: State, recorded: Recorded, meta: Meta) -> Outcome:
    """Fold one event into `state` and say whether it counted."""
    if meta.offset <= state.offset:
        return Outcome("already folded")
    _advance(state, meta)
    # Append times step back when the broker's clock does; rules get the log's time, which never does. Else every wake
    # asked for after a step back would be due at once.
    if meta.append_ms != state.now_ms:
        meta = Meta(meta.offset, state.now_ms)
    raised = False
    try:
        reason = _HANDLERS[type(recorded.event)](state, recorded.event, meta)
    except Exception as error:  # noqa: BLE001  # whatever a record makes a rule raise must not stop the log
        reason, raised = f"its rule raised {error!r}", True
    _count(state, recorded.type, reason)
    return Outcome(reason, raised=raised) if reason else _ACCEPTED


def fold_garbage(state: State, meta: Meta, reason: str) -> Outcome:
    """Pass over a record that is no event of ours."""
    if meta.offset <= state.offset:
        return Outcome("already folded")
    _advance(state, meta)
    _count(state, "undecodable", reason)
    return Outcome(reason)


def _advance(state: State, meta: Meta) -> None:
    state.offset = meta.offset
    state.now_ms = max(state.now_ms, meta.append_ms)


def _count(state: State, name: str, reason: str) -> None:
    row = state.tables["counters"].get(name)
    old = row if isinstance(row, CounterRow) else CounterRow(name)
    if reason:
        new = CounterRow(name, old.accepted, old.dropped + 1, reason[:200])
    else:
        new = CounterRow(name, old.accepted + 1, old.dropped, old.last_drop)
    state.put("counters", name, new)
