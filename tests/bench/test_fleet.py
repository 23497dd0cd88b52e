"""The script of a fleet, the state that knows it, and who judges what its watcher said."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fleet import STEP_MS, _histogram
from bench.fleets.crowd import Size, app_name, create_state, generation_of, node_name, registration_of
from bench.fleets.judge import GRACE_MS, Found, Truth, judge
from bench.fleets.loader import Loader, Order
from bench.fleets.script import QUIET_END_MS, write_script
from tables.state import is_hosted

LIMIT_MS = 10_000
END_MS = 100_000


def test_state_knows_everybody_as_alive() -> None:
    """Every app runs on its node, and every epoch is an offset of the log."""
    size = Size(nodes=3, apps_per_node=4, lone=5)
    state = create_state(size)

    assert (len(state.nodes), len(state.apps), len(state.sources)) == (3, 12, 5)
    assert all(is_hosted(state, row) for row in state.apps.values())
    assert state.apps[app_name(2, 3)].generation == generation_of(size, 2, 3) <= state.offset
    assert state.nodes[node_name(2)].registration == registration_of(2)
    assert size.sources == 3 + 12 + 5


@settings(max_examples=40)
@given(st.integers(0, 1_000), st.integers(0, 40), st.integers(0, 5), st.integers(1, 200))
def test_script_hits_each_once_and_leaves_time(seed: int, nodes: int, apps: int, lone: int) -> None:
    """It depends on the seed alone, hits nobody twice, and ends early enough for everything to be found."""
    size = Size(nodes, apps, lone)
    script = write_script(size, duration_ms=60_000, seed=seed)

    assert script == write_script(size, duration_ms=60_000, seed=seed)
    places = [(outage.kind == "lone", outage.number) for outage in script]
    assert len(set(places)) == len(places)
    assert all(outage.from_ms <= 60_000 - QUIET_END_MS for outage in script)
    assert all(outage.number < (lone if outage.kind == "lone" else nodes) for outage in script)


def test_template_gives_the_bytes_of_an_agent() -> None:
    """The loader refuses to start if a report of its own differs from an encoded one; here it does not."""
    order = Order("127.0.0.1:1", "fleet", Size(2, 3, 2), 1_000, [], 1)

    Loader(order)._prepare()


def test_outage_that_is_found_counts_from_the_last_record() -> None:
    """A silence of somebody who was silent is no invention, and its time is that over the limit."""
    truth = Truth("node-a", 1_000, 0)
    verdicts = judge(
        [truth], [Found("node-a", returned=False, at_ms=11_200)], end_ms=END_MS, limit_ms=LIMIT_MS
    )

    assert verdicts.over_limit_ms == [200]
    assert (verdicts.missed, verdicts.invented) == ([], [])


def test_outage_that_nobody_tells_of_is_missed_if_it_was_long_enough() -> None:
    """Limit and grace must have passed before it was heard again, or before the end."""
    short, long = Truth("short", 0, LIMIT_MS + GRACE_MS - 1), Truth("long", 0, LIMIT_MS + GRACE_MS)
    late = Truth("late", END_MS - LIMIT_MS, 0)

    verdicts = judge([short, long, late], [], end_ms=END_MS, limit_ms=LIMIT_MS)

    assert verdicts.missed == ["long"]


def test_fact_about_who_was_not_silent_is_invented() -> None:
    """So is one about somebody unknown to the script, a second one, and a return of who was never found."""
    truths = [Truth("brief", 0, 4_000), Truth("dead", 0, 0)]
    found = [
        Found("brief", returned=False, at_ms=9_000),
        Found("stranger", returned=False, at_ms=9_000),
        Found("dead", returned=False, at_ms=10_100),
        Found("dead", returned=False, at_ms=12_000),
        Found("other", returned=True, at_ms=12_000),
    ]

    verdicts = judge(truths, found, end_ms=END_MS, limit_ms=LIMIT_MS)

    assert sorted(verdicts.invented) == ["brief", "dead", "other", "stranger"]


def test_return_that_nobody_tells_of_is_named() -> None:
    """Who was found and beat again has a fact that says so."""
    truth = Truth("node-a", 0, 20_000)
    silence = Found("node-a", returned=False, at_ms=10_100)

    without = judge([truth], [silence], end_ms=END_MS, limit_ms=LIMIT_MS)
    told = judge(
        [truth], [silence, Found("node-a", returned=True, at_ms=20_050)], end_ms=END_MS, limit_ms=LIMIT_MS
    )

    assert without.not_returned == ["node-a"]
    assert told.not_returned == []


def test_histogram_counts_each_time_once_in_the_step_it_falls_into() -> None:
    """Steps are named by their lower end, in order, also where somebody was found before the limit."""
    counts = _histogram([0, 49.9, 50, 10, 1_234, -1])

    assert counts == {"-50": 1.0, "0": 3.0, "50": 1.0, "1200": 1.0}
    assert list(counts) == ["-50", "0", "50", "1200"]
    assert all(int(low) % STEP_MS == 0 for low in counts)
