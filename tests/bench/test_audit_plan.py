"""The plan of an audit is a pure function of seed and length, within the bounds it promises."""

from __future__ import annotations

import itertools

import pytest

from bench.auditing.plan import (
    ALONE,
    ALONE_REST_S,
    FAULTS,
    FIRST,
    OF_NODES,
    REQUESTS,
    STRETCH_S,
    TAIL_S,
    count_kinds,
    plan_steps,
)


def test_plan_is_a_function_of_seed_and_length() -> None:
    """The same seed and length give the same plan, another seed another one."""
    assert plan_steps(7, length_s=120) == plan_steps(7, length_s=120)
    assert plan_steps(7, length_s=120) != plan_steps(8, length_s=120)


@pytest.mark.parametrize("seed", range(20))
def test_plan_of_two_minutes_is_full_and_within_its_time(seed: int) -> None:
    """Faults and requests come in order, none after its time, and most kinds of the first round are met."""
    steps = plan_steps(seed, length_s=120)
    faults = [step for step in steps if step.kind == "fault"]

    assert steps == sorted(steps)
    assert all(0 < step.at_s <= 120 for step in steps)
    assert all(step.at_s <= 120 - TAIL_S for step in faults)
    assert all(step.for_s in FAULTS[step.what][1] for step in faults)
    assert len(faults) >= 10
    assert len(steps) - len(faults) >= 20
    assert len(set(FIRST) - {step.what for step in faults}) <= 3
    assert all(
        step.what in OF_NODES for step in faults if STRETCH_S + ALONE_REST_S + 14 <= step.at_s < 2 * STRETCH_S
    )


def test_plan_of_ten_minutes_meets_every_kind() -> None:
    """Some runs of ten minutes have met everything there is, many times."""
    steps = [step for seed in range(1, 7) for step in plan_steps(seed, length_s=600)]

    assert count_kinds(steps, "fault").keys() == FAULTS.keys()
    assert count_kinds(steps, "request").keys() == REQUESTS.keys()
    assert sum(count_kinds(steps, "fault").values()) > 200


@pytest.mark.parametrize("seed", range(20))
def test_faults_of_everything_do_not_overlap(seed: int) -> None:
    """The broker and most nodes are hit one after the other, with a rest in between."""
    alone = [step for step in plan_steps(seed, length_s=600) if step.what in ALONE]

    for one, next_one in itertools.pairwise(alone):
        assert next_one.at_s - one.at_s >= one.for_s + ALONE_REST_S - 0.02
