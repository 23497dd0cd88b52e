"""A recorded night decided again: nothing differs under the rules it had, and others are judged by its beats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract.codec import encode_heartbeat
from sdk.contract.heartbeats import Tick
from sdk.contract.policy import Policy
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from streams.commands import CommandError
from streams.log_files import BeatRecord, FileWriter, beat_line, decode_line, read_file
from streams.log_source import Entry
from streams.travel import recordings
from streams.travel.again import Changes
from streams.travel.recordings import Stretch, Taker, decoded, replay_file, replay_partitions
from streams.travel.replay import Found, Replay
from streams.travel.silences import Judge, Outcome, Silence
from streams.travel.verdicts import compare_found, complete_changes
from tests.simulation.world import WIDE
from tests.streams.recorded import Recording, record_seed

NIGHT = Path(__file__).parent.parent / "recordings" / "night.jsonl.zst"
TODAY: Changes = {}
QUICK: Changes = {"silence_limit_ms": 6_000}
SLOW: Changes = {"silence_limit_ms": 20_000}


def night(*rules: Changes, stretch: Stretch | None = None) -> Found:
    """The night under some rules."""
    (found,) = replay_file(NIGHT, list(rules), stretch or Stretch())
    return found


# --- a real night --------------------------------------------------------------------------------------


def test_nothing_differs_under_the_rules_that_the_night_had() -> None:
    """What the live watchers found is found again, and nothing else, with the same outcomes."""
    found = night(TODAY)
    recorded, again = found.recorded, found.again[0]

    (column,) = compare_found([found], [TODAY]).columns

    assert column.is_same
    assert [(each.source, each.kind) for each in recorded] == [(each.source, each.kind) for each in again]
    assert {each.kind for each in recorded} == {"node", "app"}
    assert [each.outcome for each in again] == ["unknowable", "unknowable"]
    assert [(each.from_offset, each.until_offset, each.silent_ms) for each in again] == [
        (each.from_offset, each.until_offset, each.silent_ms) for each in recorded
    ]


def test_a_shorter_limit_finds_the_paused_node_and_calls_it_false() -> None:
    """A pause of 7.5 s is a silence under 6 s; the node beat again, and its apps would have been started again."""
    comparison = compare_found([night(QUICK)], [QUICK])
    (column,) = comparison.columns

    (paused,) = column.new

    assert (paused.kind, paused.outcome, paused.restarts) == ("node", "false", 2)
    assert paused.returned_ms > paused.found_ms
    assert column.totals.false_restarts == comparison.recorded.false_restarts + 2
    # What was gone is found four seconds sooner.
    assert column.missing == []
    assert column.saved_ms > 0


def test_a_longer_limit_finds_what_was_destroyed_and_cannot_know_more() -> None:
    """What the old decisions took away stays silent in the recording: later found, never known."""
    (column,) = compare_found([night(SLOW)], [SLOW]).columns

    assert (column.new, column.missing) == ([], [])
    assert column.totals.unknowable == column.totals.silences == 2
    assert column.saved_ms < 0


def test_spreading_waits_for_no_new_node() -> None:
    """The planner is asked again: apps of a dead node go to the nodes that have room."""
    rules: Changes = {"on_node_failure": "spread"}
    comparison = compare_found([night(rules)], [rules])

    assert comparison.recorded.waiting == 3
    assert comparison.columns[0].totals.waiting == 0
    assert comparison.columns[0].totals.restarts == comparison.recorded.restarts


def test_several_rules_at_once_find_what_each_finds_alone() -> None:
    """Watchers beside each other do not touch each other."""
    together = night(TODAY, QUICK, SLOW)

    assert together.again == [night(rules).again[0] for rules in (TODAY, QUICK, SLOW)]


@pytest.mark.parametrize("processes", [2, 8])
def test_groups_of_partitions_find_together_what_one_replay_finds(processes: int) -> None:
    """Partitions are independent."""
    groups = [list(range(first, WIDE_PARTITIONS, processes)) for first in range(processes)]
    parts = [replay_partitions(NIGHT, [QUICK], Stretch(), group) for group in groups]

    assert compare_found(parts, [QUICK]).columns == compare_found([night(QUICK)], [QUICK]).columns
    assert sum(part.beats for part in parts) == night(QUICK).beats


def test_the_fast_way_of_reading_finds_what_the_plain_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line decoded in one pass is the line decoded step by step."""

    def refuse(text: bytes) -> None:
        raise msgspec.DecodeError(str(len(text)))

    fast = night(QUICK)
    monkeypatch.setattr(recordings, "_decode_fast", refuse)

    assert night(QUICK) == fast


def test_a_stretch_counts_what_is_found_in_it() -> None:
    """From an offset after the first silence on, only the second is there, on both sides."""
    first, second = night(TODAY).recorded
    fell = [entry.offset for entry in read_file(NIGHT) if entry.append_ms == first.found_ms]
    found = night(TODAY, stretch=Stretch(start=fell[-1] + 1))

    assert [each.source for each in found.recorded] == [second.source]
    assert compare_found([found], [TODAY]).columns[0].is_same
    assert night(TODAY, stretch=Stretch(end=fell[0] - 1)).recorded == []


# --- nights of the simulator ---------------------------------------------------------------------------


@contextmanager
def as_wide_as_the_simulator() -> Iterator[None]:
    """Partitions are counted as they were when it was recorded."""
    defaults = partition_of.__kwdefaults__
    assert defaults is not None
    before, defaults["partitions"] = defaults["partitions"], WIDE
    try:
        yield
    finally:
        defaults["partitions"] = before


def write_night(recording: Recording, path: Path) -> None:
    """A recording as the file that `events export --beats` would write."""
    streams: list[list[Entry | BeatRecord]] = [list(recording.log.entries)]
    for partition, beats in recording.heartbeats.beats.items():
        streams.append([BeatRecord(partition, at, *heard) for at, heard in sorted(beats.items())])
    with FileWriter(path) as file:
        file.write(recordings._merge(streams))


def test_what_live_watchers_wrote_under_faults_is_found_again(tmp_path: Path) -> None:
    """Workers die and pause, agents hang, the broker goes away: each recorded silence is one that is found again."""
    recorded = 0
    for seed in (2, 5, 19, 22):
        path = tmp_path / f"{seed}.jsonl"
        write_night(record_seed(seed), path)
        with as_wide_as_the_simulator():
            comparison = compare_found(replay_file(path, [TODAY], Stretch()), [TODAY])
        (column,) = comparison.columns
        if comparison.set_back:
            continue

        recorded += comparison.recorded.silences
        assert column.missing == [], seed
        # What only the replay finds had beaten again before a worker that lived could write it.
        assert {each.outcome for each in column.new} <= {"false"}, seed
    assert recorded


# --- outcomes ------------------------------------------------------------------------------------------


def silence(epoch: int = 7) -> Silence:
    """A node that fell silent at 20 s."""
    return Silence("node-1", "node", epoch, 0, 10, 50, 20_000, 10_050, 10_000)


@pytest.mark.parametrize(
    ("story", "end_ms", "outcome"),
    [
        ([("hear", 7)], 90_000, "false"),
        ([("ours", 7), ("hear", 7)], 90_000, "false"),
        ([("gone", 7)], 21_000, "true"),
        ([("gone", 7), ("ours", 7)], 21_000, "true"),
        ([("ours", 7), ("gone", 7)], 90_000, "unknowable"),
        ([("hear", 9)], 90_000, "true"),
        ([("ours", 7), ("hear", 9)], 90_000, "unknowable"),
        ([("hear", 5)], 30_000, "true"),
        ([], 30_000, "true"),
        ([], 29_999, "unknowable"),
        ([("ours", 6)], 30_000, "true"),
    ],
)
def test_a_silence_is_judged_by_what_was_recorded_after_it(
    story: list[tuple[str, int]], end_ms: int, outcome: Outcome
) -> None:
    """False if the same epoch beat again; unknowable if we ended it first, or the recording ends too soon."""
    judge, fell = Judge(), silence()
    judge.find(fell)
    for what, epoch in story:
        match what:
            case "hear":
                judge.hear("node-1", epoch, 25_000)
            case "gone":
                judge.end("node-1", epoch, "gone")
            case _:
                judge.end("node-1", epoch, "ours")
    judge.finish(end_ms)

    assert fell.outcome == outcome
    assert judge.open == {}


def test_a_limit_under_the_overdue_bound_takes_half_of_itself_for_that() -> None:
    """4 s is a limit that can be tried although nodes count as overdue from 5 s on."""
    assert complete_changes({"silence_limit_ms": 4_000}, Policy()) == {
        "silence_limit_ms": 4_000,
        "overdue_ms": 2_000,
    }
    assert complete_changes({"silence_limit_ms": 6_000}, Policy()) == {"silence_limit_ms": 6_000}


# --- files ---------------------------------------------------------------------------------------------


@given(
    st.one_of(st.none(), st.binary(max_size=60), st.just(encode_heartbeat(Tick("worker", 3)))),
    st.integers(0, 7),
    st.integers(0, 1 << 50),
)
@settings(max_examples=60)
def test_any_heartbeat_is_a_line_and_comes_back(raw: bytes | None, partition: int, offset: int) -> None:
    """Garbage, tombstones and beats are read as they were written, on one line each."""
    text = beat_line(BeatRecord(partition, offset, 5, raw))

    line, back = decode_line(text, Path("log"), 1)

    assert b"\n" not in text
    assert (line.partition, line.offset, line.append_ms, back) == (partition, offset, 5, raw)


def test_who_asks_for_the_log_only_does_not_see_heartbeats() -> None:
    """Every command with `--file` reads a recording with heartbeats."""
    entries = list(read_file(NIGHT))

    assert [entry.offset for entry in entries] == list(range(50))


def test_a_file_without_heartbeats_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """It says how to get one that has them."""
    path = tmp_path / "log.jsonl"
    with FileWriter(path) as file:
        file.write(read_file(NIGHT))

    with pytest.raises(CommandError, match="holds no heartbeats of this stretch; `events export --beats`"):
        replay_file(path, [TODAY], Stretch())


def test_a_clock_that_was_set_back_is_said() -> None:
    """Verdicts around there are not to be trusted, and the answer says so."""
    replay = Replay([TODAY])
    taker = Taker(replay, Stretch())
    for offset, at_ms in enumerate((60_000, 60_250, 12_000)):
        taker.beat(0, offset, at_ms, decoded(encode_heartbeat(Tick("worker", offset))))

    assert replay.finish().set_back
