"""Who watches which partitions: all are watched by enough, nobody by too many, and a death moves little."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.contract.topics import WIDE_PARTITIONS
from tables.shares import SLACK, share_out

WORKERS = st.sets(st.text("abcdef-/0123456789", min_size=1, max_size=8), max_size=8)
COPIES = st.integers(2, 4)


def _watching(shares: dict[str, list[int]], partition: int) -> set[str]:
    return {worker for worker, share in shares.items() if partition in share}


@given(WORKERS, COPIES)
def test_each_partition_is_watched_by_enough(workers: set[str], copies: int) -> None:
    """By so many as there shall be copies, by all if there are fewer, and nobody twice."""
    shares = share_out(workers, copies=copies)

    assert set(shares) == workers
    assert all(share == sorted(set(share)) for share in shares.values())
    for partition in range(WIDE_PARTITIONS):
        assert len(_watching(shares, partition)) == min(copies, len(workers))


@given(WORKERS, COPIES)
def test_order_of_the_names_does_not_matter(workers: set[str], copies: int) -> None:
    """The same names give the same answer, in whatever order and however often they are said."""
    ways = (sorted(workers), sorted(workers, reverse=True), [*workers, *workers])

    assert len({str(share_out(way, copies=copies)) for way in ways}) == 1


@given(WORKERS.filter(bool), COPIES)
def test_nobody_has_much_more_than_the_mean(workers: set[str], copies: int) -> None:
    """The slack above the mean, and one more where the last partitions find too few with room."""
    mean = -(-WIDE_PARTITIONS * min(copies, len(workers)) // len(workers))

    assert max(map(len, share_out(workers, copies=copies).values())) <= mean + SLACK + 1


@given(WORKERS.filter(bool), COPIES, st.data())
def test_death_moves_little_but_what_the_dead_watched(
    workers: set[str], copies: int, data: st.DataObject
) -> None:
    """Others take over what it watched; of what others watch at most the half of all partitions moves too."""
    dead = data.draw(st.sampled_from(sorted(workers)))
    before, after = (share_out(live, copies=copies) for live in (workers, workers - {dead}))

    taken = sum(len(set(share) - set(before[worker])) for worker, share in after.items())

    assert taken <= len(before[dead]) + WIDE_PARTITIONS // 2


def test_deaths_move_next_to_nothing_else_on_average() -> None:
    """Of a hundred deaths among four workers, less than one partition each moves between two who live."""
    moved = 0
    for draw in range(100):
        workers = [f"worker/host-{draw}/{number}" for number in range(4)]
        before, after = share_out(workers), share_out(workers[1:])
        taken = sum(len(set(share) - set(before[worker])) for worker, share in after.items())
        moved += taken - len(before[workers[0]])

    assert 0 <= moved < 100


def test_one_copy_is_refused() -> None:
    """A partition that one worker watches is watched by nobody once it dies."""
    refusal = "copies is 1: each partition is watched by at least 2 workers."
    with pytest.raises(ValueError, match=re.escape(refusal)):
        share_out(["a", "b"], copies=1)
