"""Waiting for a condition with a bound, instead of for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

#: Seconds; generous, because a busy machine must not make a test fail.
BOUND_S: Final = 30.0


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Return once the condition holds; fail, naming it, if it does not within the bound."""
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {BOUND_S:.0f} s: {what}"
        time.sleep(0.01)


async def wait_until(condition: Callable[[], object], what: str) -> None:
    """Do the same without holding up the loop."""
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {BOUND_S:.0f} s: {what}"
        await asyncio.sleep(0.01)
