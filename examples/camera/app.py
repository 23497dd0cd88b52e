"""A camera: counts made-up visitors, in asyncio; it beats only while its event loop turns."""

import asyncio
import random

from sdk.heartbeat import heart_beat_task


async def count_visitors() -> None:
    """Print a count now and then."""
    seen = 0
    while True:
        seen += random.randrange(3)
        print(f"{seen} visitors")
        await asyncio.sleep(3)


async def main() -> None:
    """Beat and count."""
    await asyncio.gather(heart_beat_task(), count_visitors())


asyncio.run(main())
