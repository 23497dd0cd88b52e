"""The wall clock by which the SDK tells ages, in one place, so that tests of apps can move it. Shell of the SDK."""

import time

#: How far the clock was moved, ms; 0 outside of `sdk.testing`.
_moved_ms = 0


def now_ms() -> int:
    """Now, ms UTC."""
    return time.time_ns() // 1_000_000 + _moved_ms


def monotonic_s() -> float:
    """A clock that never goes back, s; moved like the other."""
    return time.monotonic() + _moved_ms / 1000


def move(by_ms: int) -> None:
    """Let it be later from now on; for `sdk.testing`."""
    global _moved_ms  # noqa: PLW0603  # the one place
    _moved_ms += by_ms


def moved_ms() -> int:
    """How far it was moved in all."""
    return _moved_ms
