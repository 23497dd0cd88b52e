"""That a turn which cannot look at everybody leaves nobody out."""

import pytest

from bench.fleets.crowd import Size, app_name, create_state, generation_of, node_name, registration_of
from sdk.contract.events import SourceFellSilent
from sdk.contract.heartbeats import AppEntry, Report, Tick
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from tables import slices
from tables.facts import FactOutbox, find_facts
from tables.silence import PartitionWatch
from tables.watcher import Watcher

_SIZE = Size(nodes=30, apps_per_node=3, lone=0)


def _watcher() -> Watcher:
    watcher = Watcher(create_state(_SIZE))
    for partition in range(WIDE_PARTITIONS):
        watcher.begin(PartitionWatch(partition, begin=0))
        watcher.fresh_at_ms[partition] = 0
        watcher.caught_up(partition)
    return watcher


def _report(watcher: Watcher, node: int, age_ms: int) -> None:
    apps = [
        AppEntry(app_name(node, app), generation_of(_SIZE, node, app), "running", age_ms)
        for app in range(_SIZE.apps_per_node)
    ]
    report = Report(node_name(node), registration_of(node), _SIZE.as_of, 1, 0, apps)
    watch = watcher.watches[partition_of(report.reporter)]
    watcher.apply(watch.partition, watch.next_offset, 1_000, report)


def _found(watcher: Watcher) -> set[str]:
    facts = find_facts(watcher, topic_id="t", leads=False)
    return {fact.event.source for fact in facts if isinstance(fact.event, SourceFellSilent)}


@pytest.mark.parametrize("units", [1, 7, 40, 1_000])
def test_everybody_is_looked_at_in_turn(monkeypatch: pytest.MonkeyPatch, units: int) -> None:
    """However little fits into a turn, after enough of them every late app was told, and none that is not late.

    Nothing is read back meanwhile, so those who were looked at first go on having something to say.
    """
    monkeypatch.setattr(slices, "UNITS", units)
    watcher = _watcher()
    for node in range(_SIZE.nodes):
        _report(watcher, node, 12_000 if node % 2 else 100)
    found: set[str] = set()
    turns = 0
    while turns < 2 * _SIZE.nodes and (not turns or watcher.slices.is_over):
        found |= _found(watcher)
        turns += 1

    late = [app_name(node, app) for node in range(1, _SIZE.nodes, 2) for app in range(_SIZE.apps_per_node)]
    assert found == set(late)
    assert (turns == 1) == (units == 1_000)


def test_silent_are_told_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty nodes that fall silent at once are told over as many turns as it takes."""
    monkeypatch.setattr(slices, "UNITS", 20)
    watcher = _watcher()
    for at_ms in range(1_000, 30_000, 250):
        for watch in watcher.watches.values():
            watcher.apply(watch.partition, watch.next_offset, at_ms, Tick("w", at_ms))
    turns = [_found(watcher) for _ in range(_SIZE.nodes)]

    assert set().union(*turns) == {node_name(node) for node in range(_SIZE.nodes)}
    assert all(len(turn) < _SIZE.nodes for turn in turns)


def test_who_follows_writes_what_turns_found_in_part() -> None:
    """The time that a follower leaves to the leader goes on while a turn looks at others."""
    watcher, outbox = _watcher(), FactOutbox()
    _report(watcher, 1, 12_000)
    facts = find_facts(watcher, topic_id="t", leads=False)
    first = outbox.due(facts, now_ms=0, leads=False)
    between = outbox.due([], now_ms=100, leads=False, is_part=True)
    after = outbox.due(facts, now_ms=160, leads=False)

    assert (first, between) == ([], [])
    assert after == facts
