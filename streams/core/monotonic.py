"""The shell's time: for waiting and freshness, never for a verdict. Shell."""

import time


def now_ms() -> int:
    """Milliseconds of the monotonic clock."""
    return time.monotonic_ns() // 1_000_000
