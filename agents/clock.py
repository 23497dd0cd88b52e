"""The bounded clock: real time, but at most one second a turn. Shell of the agents.

Who was paused (SIGSTOP, a suspended machine) must not wake up and find everybody too old. The clock moves
only when `turn` is called, by at most `TURN_MS_MAX`, and says when it was cut, so that the caller can read
what waits first.
"""

import time
from collections.abc import Callable

#: Largest step of one turn. Source: DESIGN 7; a loop that turns slower than this was paused.
TURN_MS_MAX = 1_000


class BoundedClock:
    """Milliseconds since its making, as far as its owner was awake."""

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._last_s = source()
        self._now_ms = 0.0

    @property
    def now_ms(self) -> int:
        """The time of the last turn."""
        return int(self._now_ms)

    def turn(self) -> bool:
        """Move the clock; whether the step had to be cut."""
        now_s = self._source()
        step_ms = (now_s - self._last_s) * 1000
        self._last_s = now_s
        self._now_ms += min(max(step_ms, 0.0), TURN_MS_MAX)
        return step_ms > TURN_MS_MAX
