"""That leaving out turns changes nothing: the same run with and without, and what is left out looked at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import kafka, run
from tests.simulation.run import Verdict, run_seed
from tests.simulation.world import World

ROOT = Path(__file__).resolve().parents[2]
CHAOS_MS = 60_000
#: Seeds in which nobody draws more often because of a turn: no claim of a term is tried again, no timer fires just
#: between two turns. In 6, 14, 38 and 55 apps notify, in 6, 38, 51 and 55 they set controllers, there are sensors in
#: 51 and 55.
SAME = (6, 14, 38, 51, 55)


def _run(
    seed: int, monkeypatch: pytest.MonkeyPatch, *, shortcuts: bool
) -> tuple[Verdict, list[tuple[int, bytes]]]:
    """A run, and its log with append times."""
    worlds: list[World] = []

    def note(*args: object, **more: object) -> World:
        worlds.append(World(*args, **more))  # type: ignore[arg-type]
        return worlds[-1]

    with monkeypatch.context() as patch:
        # Who takes a shortcut draws no latency: without any, both runs draw the same for all else.
        patch.setattr(kafka, "LATENCY_MS", (0, 0))
        patch.setattr(run, "World", note)
        verdict = run_seed(seed, chaos_ms=CHAOS_MS, shortcuts=shortcuts)
    world = worlds[0]
    records = world.broker.log(world.topics.events).records
    return verdict, [(record.timestamp, record.value) for record in records]


@pytest.mark.parametrize("seed", SAME)
def test_log_when_turns_are_left_out(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With shortcuts and without, the log is the same to the last byte and millisecond, faults and all."""
    short, log = _run(seed, monkeypatch, shortcuts=True)
    full, full_log = _run(seed, monkeypatch, shortcuts=False)

    assert log == full_log
    assert short.checker == full.checker == ""


@pytest.mark.parametrize("seed", range(1, 5))
def test_verdict_when_no_turn_is_left_out(seed: int) -> None:
    """With real latencies every turn of everybody leads to the same verdict."""
    assert run_seed(seed, shortcuts=False).checker == ""


@pytest.mark.parametrize("seed", range(1, 9))
def test_turn_left_out_when_it_is_looked_at(seed: int) -> None:
    """Nothing would have been found or decided in any turn that a dozing worker leaves out."""
    verdict = run_seed(seed, watches_dozing=True)

    assert verdict.checker == "", verdict.text


def test_agent_when_its_apps_beat_into_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that only counts the records of topics is at rest, and knows what they hold."""
    worlds: list[World] = []

    def note(*args: object, **more: object) -> World:
        worlds.append(World(*args, **more))  # type: ignore[arg-type]
        return worlds[-1]

    monkeypatch.setattr(run, "World", note)

    verdict = run_seed(1, [], chaos_ms=1_000)

    world = worlds[0]
    agents = [node.agent for node in world.nodes.values() if node.agent is not None and node.agent._topics]
    assert verdict.checker == ""
    assert agents
    assert all(agent.rest is not None for agent in agents)
    for agent in agents:
        for topic, count in agent.state.counts.items():
            assert world.broker.log(topic).end - 1 <= count <= world.broker.log(topic).end


def test_seed_when_hashes_differ() -> None:
    """A run does not depend on the order in which Python happens to hash strings."""
    program = "from tests.simulation.run import run_seed; print(run_seed(21).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(digests) == 1
