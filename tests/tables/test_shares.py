"""Who watches which partitions: all are watched by enough, and a death moves little."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract.topics import WIDE_PARTITIONS
from tables.shares import partitions_of, watchers_of

WORKERS = st.sets(st.text("abcdef-/0123456789", min_size=1, max_size=8), max_size=8)
COPIES = st.integers(2, 4)


@given(WORKERS, COPIES)
def test_each_partition_is_watched_by_enough(workers: set[str], copies: int) -> None:
    """By so many as there shall be copies, by all if there are fewer, and nobody twice."""
    for partition in range(WIDE_PARTITIONS):
        watching = watchers_of(partition, workers, copies=copies)

        assert len(watching) == len(set(watching)) == min(copies, len(workers))
        assert set(watching) <= workers


@given(WORKERS, COPIES)
def test_both_ways_of_asking_agree(workers: set[str], copies: int) -> None:
    """A worker watches a partition if it is one of that partition's watchers."""
    for worker in workers:
        mine = partitions_of(worker, workers, copies=copies)

        assert mine == [
            at for at in range(WIDE_PARTITIONS) if worker in watchers_of(at, workers, copies=copies)
        ]
    assert partitions_of("somebody else", workers, copies=copies) == []


@given(WORKERS, COPIES)
def test_order_of_the_names_does_not_matter(workers: set[str], copies: int) -> None:
    """The same names give the same answer, in whatever order and however often they are said."""
    ways = (sorted(workers), sorted(workers, reverse=True), [*workers, *workers])

    for partition in range(WIDE_PARTITIONS):
        assert len({tuple(watchers_of(partition, way, copies=copies)) for way in ways}) == 1


@given(WORKERS.filter(bool), COPIES, st.data())
def test_death_moves_only_what_the_dead_watched(workers: set[str], copies: int, data: st.DataObject) -> None:
    """Whoever watched a partition goes on; one other joins, if there is one who does not watch it yet."""
    dead = data.draw(st.sampled_from(sorted(workers)))
    for partition in range(WIDE_PARTITIONS):
        before = watchers_of(partition, workers, copies=copies)
        after = watchers_of(partition, workers - {dead}, copies=copies)

        left = [worker for worker in before if worker != dead]
        assert after[: len(left)] == left
        assert len(after) == min(copies, len(workers) - 1)


@settings(max_examples=20)
@given(st.integers(3, 8), st.integers(0, 1_000))
def test_shares_are_of_about_one_size(count: int, first: int) -> None:
    """Of many partitions each has its part, half as much again at most. Of eight one may well have six."""
    workers = [f"worker/host/{first + number}" for number in range(count)]
    mean = 2 * 2_000 / count

    shares = [len(partitions_of(worker, workers, partitions=2_000)) for worker in workers]

    assert sum(shares) == 2 * 2_000
    assert 0.7 * mean <= min(shares) <= max(shares) <= 1.3 * mean


def test_one_copy_is_refused() -> None:
    """A partition that one worker watches is watched by nobody once it dies."""
    with pytest.raises(
        ValueError, match=re.escape("copies is 1: each partition is watched by at least 2 workers.")
    ):
        watchers_of(0, ["a", "b"], copies=1)
