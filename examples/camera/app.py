"""A camera's counter: counts frames in which something moves, in asyncio; it beats only while its event loop turns."""

import asyncio

from sdk import sensors
from sdk.heartbeat import heart_beat_task
from sdk.sensor_errors import SensorError

MOVES = 0.8


async def count_movements() -> None:
    """Print a count with each frame that shows more than the wind."""
    seen = 0
    while True:
        try:
            async for frame in sensors.stream_async(0):
                if frame.value["motion"] > MOVES:
                    seen += 1
                    print(f"frame {frame.value['frame']}: {seen} movements")
        except SensorError as error:
            print(error)
            await asyncio.sleep(3)


async def main() -> None:
    """Beat and count."""
    await asyncio.gather(heart_beat_task(), count_movements())


asyncio.run(main())
