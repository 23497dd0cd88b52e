"""That a watcher which cannot begin to wait for everybody in one turn leaves nobody out."""

import pytest

from bench.fleets.crowd import Size, create_state, lone_name
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from tables import waiting
from tables.facts import find_facts
from tables.rows import SourceRow
from tables.silence import PartitionWatch
from tables.watcher import Watcher

_LONE = 500


def _watcher() -> Watcher:
    watcher = Watcher(create_state(Size(3, 1, _LONE)))
    for partition in range(WIDE_PARTITIONS):
        watcher.begin(PartitionWatch(partition, begin=0))
    return watcher


def _waited(watcher: Watcher) -> set[str]:
    return {
        name for watch in watcher.watches.values() for name in watch.sessions if name.startswith("service-")
    }


@pytest.mark.parametrize("looks", [1, 7, 499, 500])
def test_everybody_is_waited_for_in_the_end(monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
    """However few a turn looks at, and whichever partition is read later; reporters are waited for at once."""
    monkeypatch.setattr(waiting, "LOOKS", looks)
    watcher, turns = _watcher(), 0
    for partition in range(WIDE_PARTITIONS):
        watcher.caught_up(partition)
        if partition % 3 == 0:
            find_facts(watcher, topic_id="t", leads=False)
    nodes = sum(name.startswith("node-") for watch in watcher.watches.values() for name in watch.sessions)
    while not watcher.waiting.is_over:
        find_facts(watcher, topic_id="t", leads=False)
        turns += 1

    assert nodes == 3
    assert _waited(watcher) == {lone_name(number) for number in range(_LONE)}
    assert (turns == 0) == (looks == _LONE)
    assert turns <= 4 * (_LONE // looks + 2)


def test_source_that_is_gone_or_came_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows may change between two turns: who is off the list is not waited for, whoever is on it may beat."""
    monkeypatch.setattr(waiting, "LOOKS", 100)
    watcher = _watcher()
    for partition in range(WIDE_PARTITIONS):
        watcher.caught_up(partition)
    find_facts(watcher, topic_id="t", leads=False)
    gone = lone_name(_LONE - 1)
    del watcher.state.tables["sources"][gone]
    watcher.state.put(
        "sources", "service-new", SourceRow("service-new", "lone", partition_of("service-new"), 0, 0)
    )
    while not watcher.waiting.is_over:
        find_facts(watcher, topic_id="t", leads=False)

    assert _waited(watcher) == {lone_name(number) for number in range(_LONE - 1)}
