"""Sensors that exist only as programs: a thermometer and a camera that write what real ones would. Shell.

python cli.py sensors simulate sensor-hall --as thermometer --every 1
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Iterator
from typing import Any, Final, Literal, get_args

from streams.clients import create_writer, quieten_kafka_logs

Kind = Literal["thermometer", "camera"]
KINDS: Final = get_args(Kind)

#: A day of the thermometer, s: short enough to be seen going up and down.
_DAY_S: Final = 600.0
#: Frames of a burst: a camera is quiet until something moves.
_BURST: Final = 8


def values(kind: Kind, *, seed: int) -> Iterator[list[Any]]:
    """What a sensor writes at each of its times: nothing, one value, or a burst of them; endless."""
    chance = random.Random(seed)  # noqa: S311  # makes up weather, not secrets
    number = 0
    while True:
        number += 1
        if kind == "thermometer":
            phase = 2 * math.pi * (number % _DAY_S) / _DAY_S
            yield [round(20 + 4 * math.sin(phase) + chance.gauss(0, 0.1), 2)]
        else:
            moves = chance.random() < 1 / _BURST
            yield [
                {"frame": number * _BURST + frame, "motion": round(chance.random(), 2)}
                for frame in range(_BURST if moves else 0)
            ]


async def simulate(
    bootstrap: str, topic: str, kind: Kind, *, every_s: float, count: int | None, seed: int
) -> int:
    """Write until cancelled, or `count` times; returns how many records were acknowledged."""
    quieten_kafka_logs()
    writer = create_writer(bootstrap)
    await writer.start()
    written = 0
    next_s = time.monotonic()
    try:
        for number, burst in enumerate(values(kind, seed=seed)):
            if number == count:
                break
            for value in burst:
                await writer.send_and_wait(topic, json.dumps(value).encode())
                written += 1
            next_s += every_s
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
    finally:
        await writer.stop()
    return written
