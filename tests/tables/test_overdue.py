"""That overdue nodes are counted right without asking each of them each time."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.fleets.crowd import Size, create_state, node_name, registration_of
from sdk.contract.heartbeats import Report, Tick
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from tables.rows import ONLY
from tables.silence import PartitionWatch
from tables.watcher import Watcher

_NODES = 12
_BEGIN_MS = 1_700_000_000_000


def _asked_one_by_one(watcher: Watcher) -> tuple[int, int]:
    """The rule as it reads."""
    state = watcher.state
    overdue = nodes = 0
    for live in state.live_nodes.values():
        for node in live:
            row = state.nodes[node]
            if state.orders[str(row.order)].ended:
                continue
            nodes += 1
            watch = watcher.watches[row.partition]
            last_ms = watcher._heard_ms(watch, node)
            overdue += last_ms is not None and watch.is_overdue(last_ms, state.policy)
    return overdue, nodes


@settings(max_examples=40)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([50, 250, 250, 900, 1_000, 3_000]),
            st.sets(st.integers(0, _NODES - 1)),
            st.sampled_from(["", "", "", "", "", "end", "down", "policy"]),
            st.integers(0, _NODES - 1),
        ),
        min_size=10,
        max_size=60,
    )
)
def test_count_is_that_of_asking_everybody(steps: list[tuple[int, set[int], str, int]]) -> None:
    """Whoever speaks, falls silent, settles, ends or leaves: the count is the same after every tick."""
    state = create_state(Size(_NODES, 0, 0))
    watcher, changed = Watcher(state), state.listen()
    for partition in range(WIDE_PARTITIONS):
        watcher.begin(PartitionWatch(partition, begin=0))
        watcher.fresh_at_ms[partition] = 0
        watcher.caught_up(partition)
    at_ms = _BEGIN_MS
    for number, (step_ms, speakers, what, node) in enumerate(steps):
        at_ms += step_ms
        for speaker in speakers:
            name = node_name(speaker)
            watch = watcher.watches[partition_of(name)]
            report = Report(name, registration_of(speaker), 0, number, 0, [])
            watcher.apply(watch.partition, watch.next_offset, at_ms, report)
        for watch in watcher.watches.values():
            watcher.apply(watch.partition, watch.next_offset, at_ms, Tick("w", number))
        match what:
            case "end":
                order = str(registration_of(node))
                state.put("orders", order, replace(state.orders[order], ended=True))
            case "down":
                name = node_name(node)
                state.put("nodes", name, replace(state.nodes[name], status="down"))
            case "policy":
                row = state.policy_row
                state.put("policy", ONLY, replace(row, policy=replace(row.policy, overdue_ms=2_000 + number)))
        for table, key in changed:
            watcher.row_changed(table, key)
        changed.clear()

        assert watcher.count_overdue() == _asked_one_by_one(watcher)
