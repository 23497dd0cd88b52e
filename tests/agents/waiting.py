"""Waits for conditions, never for times."""

import asyncio
from collections.abc import Callable

#: Far more than anything here takes, on a busy machine too.
WITHIN_S = 20.0


async def until(is_so: Callable[[], object], *, within_s: float = WITHIN_S) -> None:
    """Return when the condition holds; TimeoutError if it does not come true."""
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.005)
