"""The planner's timers: wakes that decisions asked for, on a clock that never judges unread time. Pure.

The clock advances at most `STEP_MAX_MS` per turn of the shell's loop, so that who was paused reads what came
meanwhile before it fires anything. A new term goes on from the append time that the fold has seen: late rather
than early.
"""

from typing import cast

from sdk.contract.events import TimerFired
from tables.questions import is_gone
from tables.rows import Wake
from tables.state import Key, State, is_order_open

#: Largest step of the clock in one turn. Source: DESIGN 5; the loop turns several times a second.
STEP_MAX_MS = 1_000


def _is_awaited(state: State, key: Key) -> bool:
    """Whether anything can follow from the wake: not from an order that has its node, nor a node already gone."""
    table, name = key
    if table == "orders":
        return is_order_open(state, state.orders[name])
    return table != "nodes" or not is_gone(state, state.nodes[name])


class Timers:
    """When each open wake fires, on the shell's bounded clock."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._now_ms = 0
        #: (row, offset that asked) -> clock at which it fires.
        self._due: dict[tuple[Key, int], int] = {}

    def advance(self, elapsed_ms: int) -> None:
        """One turn of the shell's loop took `elapsed_ms`."""
        self._now_ms += min(max(elapsed_ms, 0), STEP_MAX_MS)

    def restart(self) -> None:
        """A new term: count every wake anew from the time the fold has seen."""
        self._due.clear()

    def fire(self) -> list[TimerFired]:
        """The timers that are due, oldest first."""
        open_wakes = {}
        for key in self._state.waking:
            if not _is_awaited(self._state, key):
                continue
            wake = cast("Wake", getattr(self._state.tables[key[0]][key[1]], "wake"))  # noqa: B009  # not all rows have one
            at = self._now_ms + max(0, wake.due_at_ms - self._state.now_ms)
            open_wakes[key, wake.set_at] = self._due.get((key, wake.set_at), at)
        self._due = open_wakes
        ready = sorted((at, set_at, key) for (key, set_at), at in open_wakes.items() if at <= self._now_ms)
        term, policy = self._state.term.term, self._state.policy_row.offset
        return [
            TimerFired(
                term=term, based_on=self._state.offset, policy=policy, table=key[0], key=key[1], set_at=set_at
            )
            for _, set_at, key in ready
        ]
