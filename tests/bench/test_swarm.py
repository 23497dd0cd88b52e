"""What is made of the rounds of a swarm, and how its tasks are heard."""

import socket
import time

import pytest

from bench import swarm
from bench.results import Target, make_figure
from bench.swarming import rounds
from bench.swarming.rounds import Beats


def test_ratios_are_of_the_same_fault_and_only_of_what_was_measured() -> None:
    """Swarm's median until all tasks beat, over ours; one of Swarm's faults may stand beside two of ours."""
    values = {
        ("node_killed", "down"): [9_000.0],
        ("node_killed", "recovered"): [14_000.0, 16_000.0, 15_000.0],
        ("monitor_and_node", "recovered"): [30_000.0],
    }
    ours = {
        name: make_figure(Target(name, 700), [value])
        for name, value in (
            ("node_killed_recovered_ms_p50", 300.0),
            ("worker_and_node_recovered_ms_p50", 3_000.0),
            ("broker_and_node_recovered_ms_p50", 7_500.0),
        )
    }
    found = {figure.name: figure.value for figure in swarm._ratios(values, ours)}
    assert found == {
        "swarm_over_ours_node_killed_ratio": 50.0,
        "swarm_over_ours_worker_and_node_killed_ratio": 10.0,
        "swarm_over_ours_broker_and_node_killed_ratio": 4.0,
    }


def test_a_task_beats_until_it_has_not_been_heard_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first beat is kept; a machine that is left out has no say."""
    monkeypatch.setattr(rounds, "HUB_IP", "127.0.0.1")
    said = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with Beats() as beats, said:
        until_s = time.monotonic() + 10
        while len(beats.beating()) < 2:
            assert time.monotonic() < until_s
            for words in (b"task-1 machine-1", b"task-2 machine-2"):
                said.sendto(words, ("127.0.0.1", beats.port))
        first_s = beats.beating()["task-1"][1]
        assert set(beats.beating(but="machine-1")) == {"task-2"}
        monkeypatch.setattr(rounds, "_BEATS_WITHIN_S", 0.0)
        assert beats.beating() == {}
    monkeypatch.setattr(rounds, "_BEATS_WITHIN_S", 3_600.0)
    assert beats.beating()["task-1"] == ("machine-1", first_s)
