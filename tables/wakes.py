"""A time that a decision or a row asked for. Pure; part of `tables.rows`."""

import msgspec


class Wake(msgspec.Struct, frozen=True, omit_defaults=True):
    """A time that a decision asked for; at most one per row, a later one replaces it."""

    #: Offset of the decision that asked, which names it.
    set_at: int
    #: Append time after which `TimerFired` is due.
    due_at_ms: int
    fired: bool = False
