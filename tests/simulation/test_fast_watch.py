"""That a platform with the fast watch does what one with the plain watch does, faults and all."""

import pytest

from tests.simulation import kafka, run, workers
from tests.simulation.run import Verdict, run_seed
from tests.simulation.world import World
from tests.tables.plain_silence import PlainWatch

CHAOS_MS = 60_000


def _run(
    seed: int, monkeypatch: pytest.MonkeyPatch, *, plain: bool
) -> tuple[Verdict, list[tuple[int, bytes]]]:
    """A run, and its log with append times."""
    worlds: list[World] = []

    def note(*args: object, **more: object) -> World:
        worlds.append(World(*args, **more))  # type: ignore[arg-type]
        return worlds[-1]

    with monkeypatch.context() as patch:
        # Who looks at less draws less: without latencies both runs draw the same for all else.
        patch.setattr(kafka, "LATENCY_MS", (0, 0))
        patch.setattr(run, "World", note)
        if plain:
            patch.setattr(workers, "PartitionWatch", PlainWatch)
        verdict = run_seed(seed, chaos_ms=CHAOS_MS)
    world = worlds[0]
    records = world.broker.log(world.topics.events).records
    return verdict, [(record.timestamp, record.value) for record in records]


@pytest.mark.parametrize("seed", range(1, 9))
def test_log_when_the_watch_is_plain(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is the same to the last byte and millisecond, whichever of the two watches every worker has."""
    fast, log = _run(seed, monkeypatch, plain=False)
    plain, plain_log = _run(seed, monkeypatch, plain=True)

    assert log == plain_log
    assert fast.checker == plain.checker == ""
