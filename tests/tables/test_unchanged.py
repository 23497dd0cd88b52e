"""What a watch makes of "as before": never a silence of an app that beats, and never one less of one that does not."""

import pytest

from sdk.contract.heartbeats import AppEntry, AppStatus, Report, Tick, Unchanged
from sdk.contract.policy import Policy
from sdk.contract.topics import partition_of
from tables.silence import PartitionWatch
from tests.tables.world import begin

NODE, APP = "node-10.0.0.1_8101", "application-a"
POLICY = Policy()


def _report(age_ms: int = 100, status: AppStatus = "running", registration: int = 7) -> Report:
    return Report(NODE, registration, 9, 1, 0, [AppEntry(APP, 9, status, age_ms, 5)], 0.5)


def _watch(*records: Report | Unchanged) -> PartitionWatch:
    watch = PartitionWatch(0, begin=0)
    for record in records:
        watch.apply(watch.next_offset, 1_000, record, POLICY)
    return watch


def test_it_is_a_beat_and_leaves_the_apps_as_they_were() -> None:
    """The newest report stays the full one; the record is what its node was heard by, and what it says of its load."""
    watch = _watch(_report(), Unchanged(NODE, 7, 2, 0, 0, 0.25))
    reported, session = watch.reports[NODE], watch.sessions[NODE]

    assert (reported.offset, reported.newest_offset, session.last_offset) == (0, 1, 1)
    assert reported.newest.load == 0.25  # type: ignore[union-attr]
    assert [entry.app for entry in reported.apps] == [APP]
    assert watch.unknown == set()


@pytest.mark.parametrize(
    ("full", "short"),
    [
        (_report(), Unchanged(NODE, 7, 2, 0, 5)),
        (_report(age_ms=12_000), Unchanged(NODE, 7, 2, 0, 0)),
        (_report(status="starting"), Unchanged(NODE, 7, 2, 0, 0)),
        (_report(registration=5), Unchanged(NODE, 7, 2, 0, 0)),
    ],
    ids=["another report", "one with a late app", "one with an app that starts", "of another registration"],
)
def test_what_is_not_known_is_not_held_against_apps(full: Report, short: Unchanged) -> None:
    """If it does not mean the report that was read last, or that was not at rest, nothing is known of the apps."""
    watch = _watch(full, short)

    assert watch.reports == {}
    assert watch.unknown == {NODE}
    assert watch.app_beats == {}
    assert watch.sessions[NODE].last_offset == 1
    watch.apply(2, 1_000, _report(), POLICY)
    assert watch.unknown == set()
    assert [entry.app for entry in watch.reports[NODE].apps] == [APP]


def test_a_zombies_is_passed_over() -> None:
    """Of an older registration it changes nothing."""
    watch = _watch(_report(), Unchanged(NODE, 6, 2, 0, 0))

    assert watch.reports[NODE].newest_offset == 0
    assert (watch.unknown, watch.sessions[NODE].last_offset) == (set(), 0)


def test_node_is_silent_after_it_as_after_any_beat() -> None:
    """The silence begins at the record that says "as before"."""
    watch = _watch(_report(), Unchanged(NODE, 7, 2, 0, 0))
    for at_ms in range(1_250, 12_000, 250):
        watch.apply(watch.next_offset, at_ms, Tick("w", 1), POLICY)

    assert watch.silent[NODE].from_offset == 1


def test_late_app_was_heard_up_to_it() -> None:
    """The beat of an app that falls late was fresh in the last record that said so, be it short."""
    watch = _watch(_report(), Unchanged(NODE, 7, 2, 0, 0), _report(age_ms=12_000))

    assert watch.app_beats == {(APP, 9): 1}


def test_nobody_is_called_without_a_beat_while_nothing_is_known() -> None:
    """Whether an app has ever beaten is unknown then, and no longer so with the next full report."""
    world = begin(3)
    row = world.app("application-0")
    watch = world.watcher.watches[partition_of(row.node)]
    before = world.watcher.has_beaten("application-0", row.generation)
    registration = world.state.nodes[row.node].registration
    unknown = Unchanged(row.node, registration, 1, 0, watch.next_offset + 5)
    watch.apply(watch.next_offset, watch.append_ms or 0, unknown, POLICY)
    meanwhile = world.watcher.has_beaten("application-0", row.generation)
    world.run(3_000)

    assert (before, meanwhile) == (True, None)
    assert world.watcher.has_beaten("application-0", row.generation) is True
