"""What the simulator found once, in a few lines each."""

from agents import inputs as i
from sdk.contract.codec import Recorded
from sdk.contract.events import (
    Event,
    NodeOrdered,
    PlannerStarted,
    PoolConfigured,
    Position,
    ProvisionerRegistered,
    SourceFellSilent,
    SourceReturned,
)
from sdk.contract.heartbeats import Beat, Hello, PoolReport, Tick
from sdk.contract.policy import Policy
from sdk.contract.topics import WIDE_PARTITIONS
from tables.facts import find_facts
from tables.fold import Meta, fold
from tables.rows import NodeRow, OrderRow
from tables.silence import PartitionWatch
from tables.state import State
from tables.timers import Timers
from tables.watcher import Watcher
from tests.agents.rig import Rig, app, of_kind

POLICY = Policy()


def _tick(watch: PartitionWatch, offset: int, at_ms: int) -> None:
    watch.apply(offset, at_ms, Tick("writer", offset), POLICY)


def test_silence_when_the_log_is_read_further_than_the_heartbeats() -> None:
    """The time of a node starts at the record that the log names, not where a late watcher stands (seed 22)."""
    watch = PartitionWatch(0, begin=0)
    _tick(watch, 0, 0)
    watch.expect("node-a", 7, seen=3, policy=POLICY)
    for offset in range(1, 14):
        _tick(watch, offset, offset * 1_000)

    assert "node-a" not in watch.silent
    _tick(watch, 14, 14_000)
    assert watch.silent["node-a"].from_offset == 3
    assert watch.silent["node-a"].silent_ms == 11_000


def test_silence_when_a_late_watcher_is_restarted() -> None:
    """A checkpoint keeps that a node's time has not begun."""
    watch = PartitionWatch(0, begin=0)
    _tick(watch, 0, 0)
    watch.expect("node-a", 7, seen=3, policy=POLICY)

    again = PartitionWatch.load(watch.dump(), POLICY)
    for offset in range(1, 14):
        _tick(again, offset, offset * 1_000)

    assert "node-a" not in again.silent


def test_silence_when_a_beat_comes_before_the_place_that_the_log_names() -> None:
    """A beat of the epoch starts its time, wherever it stands."""
    watch = PartitionWatch(0, begin=0)
    _tick(watch, 0, 0)
    watch.expect("source", 0, seen=30, policy=POLICY)
    watch.apply(1, 100, Beat("source", 0, 1, 0), POLICY)
    for offset in range(2, 14):
        _tick(watch, offset, offset * 1_000)

    assert watch.silent["source"].from_offset == 1


def test_timer_when_the_clock_of_the_broker_stepped_back() -> None:
    """A wake asked for after a step back is due after its time, not at once (seed 9, faults of 'bound of settling').

    The orders for nodes were withdrawn and made again a hundred times a second.
    """
    state = State()
    events: list[tuple[int, Event]] = [
        (100_000, PlannerStarted("writer", 1)),
        (100_000, PoolConfigured("request", "pool-home", 1, 4)),
        (
            40_000,
            NodeOrdered(
                term=0, based_on=1, policy=-1, pool="pool-home", slots=4, port_floor=1, wake_ms=12_000
            ),
        ),
    ]
    for offset, (append_ms, event) in enumerate(events):
        assert fold(state, Recorded(str(offset), "", "", "", event), Meta(offset, append_ms)).accepted
    timers = Timers(state)

    timers.advance(1_000)

    assert timers.fire() == []
    for _ in range(12):
        timers.advance(1_000)
    assert [fired.key for fired in timers.fire()] == ["2"]


def test_return_when_a_provisioner_falls_silent_a_second_time() -> None:
    """Each silence has its own return, so that a refused repeat of the first does not stop the second (seed 4).

    The pool would have stayed silent, and ordered no nodes, until its provisioner registered anew.
    """
    state = State()
    watcher = Watcher(state)
    watcher.begin(PartitionWatch(0, begin=0))
    watcher.fresh_at_ms[0] = watcher.now_ms = 1_000
    append = _Log(state)
    append(PoolConfigured("request", "pool-home", 1, 4))
    append(ProvisionerRegistered("pool-home", "claim", 0, "boot", Position(0, 0)))

    found = []
    for offset in (1, 3):
        append(SourceFellSilent("pool-home", "pool", 1, "topic", 0, offset - 1, offset, 10_001, 10_000))
        watcher.apply(0, offset, offset * 1_000, PoolReport("pool-home", 1, 0, offset, 0, []))
        facts = find_facts(watcher, topic_id="topic", leads=False)
        found.append([fact.event_id for fact in facts if isinstance(fact.event, SourceReturned)])
        append(next(fact.event for fact in facts if isinstance(fact.event, SourceReturned)))

    assert len(found[0]) == len(found[1]) == 1
    assert found[0] != found[1]


class _Log:
    """Folds events as they come."""

    def __init__(self, state: State) -> None:
        self._state = state

    def __call__(self, event: Event) -> None:
        """Fold one that counts."""
        offset = self._state.offset + 1
        assert fold(self._state, Recorded(str(offset), "", "", "", event), Meta(offset, offset)).accepted


def test_report_when_an_isolated_agent_reads_of_a_new_copy() -> None:
    """What waits for the end of isolation is named by the report under its orders, so it is not lost (seed 13)."""
    rig = Rig()
    rig.run(app(on_isolation="stop"))
    rig.is_kafka_there = False
    rig.wait(8_200)
    rig.give(i.Exited("application-a", 90, 0))
    rig.give(rig.node_orders(app(generation=105, on_isolation="stop"), as_of=105))
    out = rig.wait(2_800)

    entry = rig.entry("application-a")
    assert rig.last_report().as_of == 105
    assert not of_kind(out, i.Spawn)
    assert entry is not None
    assert (entry.generation, entry.status) == (105, "starting")
    rig.is_kafka_there = True
    out = rig.wait(2_800) + rig.give(i.CaughtUp())
    assert [(it.key, it.epoch) for it in of_kind(out, i.Spawn)] == [("application-a", 105)]


def test_overdue_when_another_says_hello_under_the_name_of_a_node() -> None:
    """A ghost that asks for a registration does not make the silent node a heard one (seed 114).

    The brake let go of nodes of which most were away.
    """
    state = State()
    state.put("orders", "1", OrderRow(1, "pool-home", 4, 1, 0))
    state.put(
        "nodes",
        "node-a",
        NodeRow(
            "node-a", "pool-home", "10.0.0.1", 1, 4, [], "boot", "claim-2", 1, 61, 26, 0, "active", 0, 0, 0
        ),
    )
    watcher = Watcher(state)
    watcher.begin(watch := PartitionWatch(0, begin=0))
    _tick(watch, 0, 0)
    watch.expect("node-a", 61, seen=0, policy=POLICY)
    for offset in range(1, 9):
        _tick(watch, offset, offset * 1_000)
    ghost = Hello("node-a", "claim-3", 1, 26, 1, 0, "10.0.0.1", 1, "pool-home", 4, [], "boot")
    watch.apply(9, 9_000, ghost, POLICY)
    for number in range(WIDE_PARTITIONS):
        watcher.begin(watch if number == 0 else PartitionWatch(number, begin=0))
        watcher.fresh_at_ms[number] = watcher.now_ms

    assert watcher.count_overdue() == (1, 1)
