"""Scenario 7: one percent of garbage on every topic."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

import pytest

from sdk.contract.requests import ChangePolicy
from sdk.contract.topics import topic_specs
from streams.core.letters import DeadLetter, decode_letter
from streams.local.rig import Rig
from streams.log_source import Place, open_source
from tests.integration.checks import check_end
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

#: As large as a record may be with a little room for its frame.
LARGEST = (1 << 20) - 200


def garbage(chance: random.Random) -> list[bytes | None]:
    """One record of each kind that nobody wants."""
    unknown = {
        "specversion": "1.0",
        "id": "x",
        "type": "watchkeep.moon.landed.v9",
        "source": "test",
        "subject": "x",
        "time": "2024-01-01T00:00:00.000Z",
        "data": {},
    }
    wrong = {**unknown, "type": "watchkeep.node.registered.v1", "data": {"node": 7}}
    return [
        chance.randbytes(200),
        chance.randbytes(LARGEST),
        json.dumps(wrong).encode(),
        None,
        json.dumps(unknown).encode(),
        b"[" * 20_000,
    ]


def test_garbage_on_every_topic_ends_in_dead_letters_and_stops_nothing(create_rig: CreateRig) -> None:
    """Each record that cannot be used has one dead letter with a reason, and the platform goes on."""
    chance = random.Random(7)
    rig = create_rig("garbage")
    rig.start(nodes=2, slots=4)
    apps = rig.run_apps(["application-a", "application-b"])
    pids = [rig.worker_pid(name) for name in rig.workers]

    places = throw_garbage(rig, chance)

    def missing() -> set[tuple[str, int, int]]:
        return places - {(letter.topic, letter.partition, letter.offset) for letter in read_letters(rig)}

    rig.wait(lambda _: not missing(), within_s=30, what=f"letters for {len(places)} records")
    counted = Counter((letter.topic, letter.partition, letter.offset) for letter in read_letters(rig))
    assert {place: count for place, count in counted.items() if count > 1} == {}
    assert set(counted) == places
    assert all(letter.reason for letter in read_letters(rig))
    (more,) = rig.run_apps(["application-c"])
    victim = rig.node_of(more)
    touched = [victim, *[app for app in [*apps, more] if rig.node_of(app) == victim]]
    rig.kill(rig.agent_pid(victim))
    rig.wait(lambda state: state.nodes[victim].status == "down", what="the killed node down")
    rig.wait_running([*apps, more])
    assert [rig.worker_pid(name) for name in rig.workers] == pids
    check_end(rig, 0, touched=touched)


def throw_garbage(rig: Rig, chance: random.Random) -> set[tuple[str, int, int]]:
    """Put every kind on every partition, among a hundred times as many good requests; where it stands."""
    places = set()
    for spec in topic_specs(rig.prefix):
        for partition in range(spec.partitions):
            for value in garbage(chance):
                is_compacted = spec.config["cleanup.policy"] == "compact"
                if is_compacted and value is None:
                    continue  # Means "this row is gone", and is as good as any record.
                key = chance.randbytes(8) if is_compacted or value is None else None
                offset = rig.log.put(spec.name, value, key=key, partition=partition)
                places.add((spec.name, partition, offset))
    for number in range(100):
        rig.send(ChangePolicy({"app_backoff_ms": 1_000 + number}))
    return places


def read_letters(rig: Rig) -> list[DeadLetter]:
    """Every dead letter there is, garbage on that topic apart."""
    return asyncio.run(_read_letters(rig))


async def _read_letters(rig: Rig) -> list[DeadLetter]:
    letters = []
    place: Place = (rig.topics.dead_letters, 0)
    async with open_source(rig.bootstrap, rig.prefix) as source:
        ends = await source.ends([place])
        async for records in source.read({place: 0}, ends):
            for record in records:
                try:
                    letters.append(decode_letter(record.value))
                except (ValueError, RecursionError):
                    continue
    return letters
