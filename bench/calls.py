"""How long single calls hold up who makes them."""

import time
from collections.abc import Callable
from typing import Any


def timed_us(call: Callable[[], Any], times: int, *, pause_s: float = 0.0) -> list[float]:
    """What each of so many calls took, us, with a pause after each."""
    taken = []
    for _ in range(times):
        began_ns = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - began_ns) / 1000)
        if pause_s:
            time.sleep(pause_s)
    return taken


def arithmetic() -> None:
    """About as long as a notification takes its caller: what the machine itself adds shows in it."""
    sum(range(2_000))


def counting(begin: int, say: Callable[[str], Any]) -> Callable[[], Any]:
    """A call with another text each time, so that nothing is merged."""
    numbers = iter(range(10**9))
    return lambda: say(f"{begin}-{next(numbers)}")


def share(values: list[float], part: float) -> float:
    """The value that this part of all values does not exceed, such as 0.99."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]
