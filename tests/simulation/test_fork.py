"""Forks of kept incidents: the platform goes on from a real moment, and faults do what they ought to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import main
from sdk.contract import events as e
from sdk.contract.codec import Recorded
from sdk.contract.devices import Device
from sdk.contract.topics import partition_of
from streams.log_files import FileWriter
from streams.log_source import entry_of, fold_entry
from streams.travel.capsules import Capsule, read_capsule
from tables.fold import Meta, fold
from tables.state import State
from tests.simulation.forking import Forked, run_fork, running
from tests.simulation.injecting import parse_injection
from tests.simulation.past import Logged, Past
from tests.simulation.world import World

CAPSULES = Path(__file__).parent.parent / "capsules"
APP = "application-1"


def kept(name: str) -> Capsule:
    """One of the kept incidents."""
    return read_capsule(CAPSULES / f"{name}.capsule")


def past_of(capsule: Capsule, offset: int) -> Past:
    """The platform of an incident after one of its events."""
    state = State()
    records = [record for record in capsule.events if record.offset <= offset]
    for record in records:
        fold_entry(state, entry_of(record.offset, record.append_ms, record.raw))
    ends: dict[int, int] = {}
    for partition, beats in capsule.heartbeats.items():
        ends[partition] = sum(record.append_ms <= records[-1].append_ms for record in beats)
    return Past(
        state,
        [Logged(record.offset, record.append_ms, None, record.raw) for record in records],
        prefix=capsule.prefix,
        events_id=capsule.events_id,
        heartbeats_id=capsule.heartbeats_id,
        heartbeat_ends=ends,
    )


def offset_of(capsule: Capsule, kind: type[e.Event], *, last: bool = False) -> int:
    """The first event of a kind, or the last."""
    found = [
        record.offset
        for record in capsule.events
        for entry in [entry_of(record.offset, record.append_ms, record.raw)]
        if isinstance(entry.said, Recorded) and isinstance(entry.said.event, kind)
    ]
    return found[-1 if last else 0]


def calm(name: str = "app-hung") -> Past:
    """A platform on which everything runs."""
    capsule = kept(name)
    return past_of(capsule, offset_of(capsule, e.SourceFellSilent) - 1)


def with_events(past: Past, *events: e.Event) -> Past:
    """The same a moment later, with some events more."""
    for event in events:
        offset = past.state.offset + 1
        fold(past.state, Recorded(f"more-{offset}", "test", "", "test", event), Meta(offset, past.now_ms))
    more = Past(
        past.state,
        [],
        prefix=past.prefix,
        events_id=past.events_id,
        heartbeats_id=past.heartbeats_id,
        heartbeat_ends=past.heartbeat_ends,
    )
    assert more.state.tables["counters"]["test"].dropped == 0  # type: ignore[union-attr]
    return more


def names_of(forked: Forked, kind: type[e.Event]) -> list[object]:
    """The events of a kind that counted."""
    return [each.said.event for each in forked.told if isinstance(each.said.event, kind) and not each.dropped]


def play(past: Past, *faults: str, for_ms: int = 60_000) -> Forked:
    """Run a fork."""
    return run_fork(past, faults, for_ms=for_ms)


def test_left_alone_nothing_happens() -> None:
    """A new leader, and no other event: nobody registers anew, nothing is lost or placed."""
    forked = play(calm())
    assert forked.stood
    assert [type(each.said.event) for each in forked.told] == [e.PlannerStarted]
    assert (forked.losses, forked.missing, forked.whole_after_ms) == ([], [], 0)


def test_offsets_go_on_where_the_log_ended() -> None:
    """The first record of the fork has the offset after the moment, and a later append time."""
    past = calm()
    forked = play(past, for_ms=5_000)
    assert forked.told[0].offset == past.state.offset + 1
    assert forked.told[0].append_ms >= past.now_ms


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_node_is_replaced_with_its_apps(seed: int) -> None:
    """Its apps run again on another node, under the next generation, and the real state is as it was."""
    past = calm()
    row = past.state.apps[APP]
    offset = past.state.offset
    forked = run_fork(past, [f"kill {row.node}"], for_ms=60_000, seed=seed)
    (loss,) = [loss for loss in forked.losses if loss.app == APP]
    assert loss.was_on == row.node
    assert loss.is_on not in ("", row.node)
    assert 0 < loss.down_ms < 10_000
    assert forked.missing == []
    assert forked.whole_after_ms >= loss.down_ms
    assert not forked.brake_is_on
    assert past.state.offset == offset
    assert past.state.apps[APP] == row


def test_cut_node_is_found_by_its_silence() -> None:
    """Nothing before the limit is over; then its apps come back elsewhere."""
    past = calm()
    node = past.state.apps[APP].node
    forked = play(past, f"cut {node} for 40s", for_ms=90_000)
    silences = names_of(forked, e.SourceFellSilent)
    assert [event.source for event in silences] == [node]  # type: ignore[attr-defined]
    (loss,) = [loss for loss in forked.losses if loss.app == APP]
    assert 10_000 <= loss.down_ms < 40_000


def test_hung_app_and_killed_leader_come_back() -> None:
    """Faults strike when they ought to, and the leader is whoever leads then."""
    forked = play(calm(), f"hang {APP}", "kill leader @+5s", for_ms=90_000)
    assert [each.at_ms - forked.stood_ms for each in forked.struck] == [0, 5_000]
    assert forked.struck[1].hit.startswith("worker-")
    assert [loss.app for loss in forked.losses] == [APP]
    assert forked.losses[0].back_at_ms > 0
    assert len(names_of(forked, e.PlannerStarted)) >= 2


def test_broker_that_is_away_costs_nobody_anything() -> None:
    """The clock stands still meanwhile: no verdict, no restart."""
    forked = play(calm(), "hang broker for 25s", for_ms=90_000)
    assert (forked.losses, forked.missing) == ([], [])
    assert names_of(forked, e.SourceFellSilent) == []


def test_worker_pool_and_agent_that_are_restarted_lose_no_app() -> None:
    """What is started again in place goes on with what it ran."""
    past = calm()
    node = past.state.apps[APP].node
    forked = play(past, "restart leader", "restart pool-local @+5s", f"restart {node} @+10s", for_ms=60_000)
    assert (forked.losses, forked.missing) == ([], [])


def test_most_nodes_away_engage_the_brake() -> None:
    """Two of three are cut off at once: the brake holds, and ends when they are back."""
    past = calm()
    first, second, *_ = sorted(past.state.nodes)
    forked = play(past, f"cut {first} for 30s", f"cut {second} for 30s", for_ms=120_000)
    assert [name for _, name in forked.brake] == ["BrakeEngaged", "BrakeReleased"]
    assert not forked.brake_is_on
    assert names_of(forked, e.NodeDeclaredDown) == []
    assert forked.missing == []


def test_fork_amid_an_incident_ends_it() -> None:
    """From the moment at which a node fell silent, its apps are brought back without any fault of ours."""
    capsule = kept("node-silent")
    past = past_of(capsule, offset_of(capsule, e.SourceFellSilent))
    (silent,) = [node for node, row in past.state.nodes.items() if row.silent]
    assert past.state.apps[APP].node == silent
    forked = play(past)
    downs = names_of(forked, e.NodeDeclaredDown)
    assert [event.node for event in downs] == [silent]  # type: ignore[attr-defined]
    assert APP in {event.app for event in names_of(forked, e.AppStarted)}  # type: ignore[attr-defined]


@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_whatever_the_moment_everything_wanted_runs_in_the_end(data: st.DataObject) -> None:
    """In the middle of a start, a failure or a recovery: the fork finds what runs, and ends what was begun."""
    capsule = kept(data.draw(st.sampled_from(["app-hung", "leader-killed", "node-killed", "node-silent"])))
    past = past_of(capsule, data.draw(st.integers(0, capsule.events[-1].offset)))
    forked = play(past)
    assert forked.stood
    state = State()
    state.load([*past.state.all_rows()], offset=past.state.offset, now_ms=past.state.now_ms)
    for each in forked.told:
        fold(state, each.said, Meta(each.offset, each.append_ms))
    wanted = {app for app, row in state.apps.items() if row.wanted}
    assert wanted <= running(state)
    # Nobody who was alive at that moment is accused.
    assert names_of(forked, e.SourceFellSilent) == []


def test_every_pool_has_its_provisioner_and_what_is_watched_goes_on() -> None:
    """A second pool makes nodes of its own; an original client and a sensor speak and are not called silent."""
    past = with_events(
        calm(),
        e.PoolConfigured("r-1", "pool-two", 2, 4),
        e.ProvisionerRegistered("pool-two", "claim-two", 0, "boot", e.Position(partition_of("pool-two"), 0)),
        e.SourceExpected("r-2", "service-old", "old-beats"),
        e.DeviceRegistered("r-3", Device("sensor-hall", silence_limit_ms=15_000)),
    )
    forked = play(past, "kill pool-two @+20s", for_ms=90_000)
    registered = names_of(forked, e.NodeRegistered)
    assert [event.pool for event in registered] == ["pool-two"] * 2  # type: ignore[attr-defined]
    assert {event.source for event in names_of(forked, e.SourceReturned)} == {"service-old", "sensor-hall"}  # type: ignore[attr-defined]
    assert names_of(forked, e.SourceFellSilent) == []
    assert (forked.losses, forked.missing) == ([], [])


BAD = {
    "": "is no fault",
    "kill": "is no fault",
    "explode node-1": "is no fault",
    "kill node-10.9.9.9_1": "nothing that runs at that moment is called node-10.9.9.9_1",
    "cut application-1": "cut is for a node, worker, pool",
    "kill application-1 for 10s": "kill has no duration for application-1",
    "kill leader @+soon": "'soon' is no length of time",
    "hang broker for ever": "'ever' is no length of time",
}


@pytest.mark.parametrize(("text", "words"), BAD.items())
def test_bad_words_are_one_sentence(text: str, words: str) -> None:
    """It says what is wrong and what is allowed."""
    world = World(1, shortcuts=False, past=calm())
    with pytest.raises(ValueError, match=words.replace("(", r"\(")) as error:
        parse_injection(text, world)
    assert "\n" not in str(error.value)


def call(
    tmp_path: Path, capsule: Capsule, args: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """Run `cli.py fork` on the log of an incident in a file."""
    path = tmp_path / "log.jsonl"
    with FileWriter(path) as writer:
        writer.write(entry_of(record.offset, record.append_ms, record.raw) for record in capsule.events)
    monkeypatch.setenv("WATCHKEEP_DATA_DIR", str(tmp_path))
    result = CliRunner().invoke(main, ["fork", "--file", str(path), *args], prog_name="cli.py")
    return result.exit_code, result.output


def test_command_prints_what_would_happen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As text with the faults among the events, and as JSON; a fault that is none is exit code 2."""
    capsule = kept("app-hung")
    at = str(offset_of(capsule, e.SourceFellSilent) - 1)
    code, text = call(tmp_path, capsule, ["--at", at, "--inject", f"kill {APP}", "--for", "30s"], monkeypatch)
    assert code == 0, text
    assert f"+0.000 s  kill {APP}: {APP} on node-" in text
    assert f"{APP}: runs again on " in text
    args = ["--at", at, "--inject", f"kill {APP}", "--for", "30s", "-o", "json"]
    code, text = call(tmp_path, capsule, args, monkeypatch)
    assert code == 0
    document = json.loads(text)
    assert [each["app"] for each in document["apps"]] == [APP]
    assert document["apps"][0]["down_ms"] == document["whole_after_ms"]
    code, text = call(tmp_path, capsule, ["--at", at, "--inject", "kill nobody"], monkeypatch)
    assert code == 2
    assert "nothing that runs at that moment is called nobody" in text
