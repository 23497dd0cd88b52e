"""What a simulated platform wrote under faults: its log and all its heartbeats. A test helper."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from sdk.contract.codec import encode_heartbeat
from streams.log_source import entry_of
from streams.travel.checker import Heard
from streams.travel.heartbeats import HeldHeartbeats
from tests.simulation.kafka import Record
from tests.simulation.run import CHAOS_MS, run_seed
from tests.simulation.world import World
from tests.streams.past import MemoryLog


class Recording(NamedTuple):
    """A night on a simulated platform."""

    log: MemoryLog
    heartbeats: HeldHeartbeats


def record_seed(seed: int, *, chaos_ms: int = CHAOS_MS) -> Recording:
    """Run a seed of the simulator and keep every event and every heartbeat, whatever its broker deletes."""
    events: list[Record] = []
    beats: dict[int, dict[int, Heard]] = {}
    worlds: list[World] = []
    begin = World.__init__

    def watched(world: World, *args: Any, **how: Any) -> None:
        begin(world, *args, **how)
        worlds.append(world)
        before = world.broker.on_append

        def keep(record: Record) -> None:
            before(record)
            if record.topic == world.topics.events:
                events.append(record)
            elif record.topic == world.topics.heartbeats:
                value = record.value if isinstance(record.value, bytes) else encode_heartbeat(record.value)
                beats.setdefault(record.partition, {})[record.offset] = record.timestamp, value

        world.broker.on_append = keep

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "__init__", watched)
        verdict = run_seed(seed, chaos_ms=chaos_ms, shortcuts=False)
    assert not verdict.checker, verdict.text
    entries = [entry_of(record.offset, record.timestamp, record.value) for record in events]
    ends = {partition: max(held) + 1 for partition, held in beats.items()}
    return Recording(MemoryLog(entries), HeldHeartbeats(worlds[0].heartbeats_id, beats, ends))
