"""Whose checkpoint is due."""

import pytest

from sdk.contract.topics import WIDE_PARTITIONS
from streams.core.snapshots import SAVE_ALL_WITHIN, Turns
from tables.silence import PartitionWatch


@pytest.mark.parametrize("count", [0, 1, 3, WIDE_PARTITIONS, 20])
def test_every_partition_has_its_turn(count: int) -> None:
    """Within as many saves as are allowed each partition was saved, and no save took many more than its share."""
    watches = [PartitionWatch(number, begin=0) for number in range(count)]
    turns = Turns()
    saves = [turns.take(watches) for _ in range(SAVE_ALL_WITHIN)]

    assert {watch.partition for save in saves for watch in save} == set(range(count))
    assert max(len(save) for save in saves) == -(-count // SAVE_ALL_WITHIN)
