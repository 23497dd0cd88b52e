"""Capsules: kept incidents come to the same verdicts for ever, and whatever was changed is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import main
from sdk.contract import events as e
from sdk.contract.codec import Recorded
from sdk.contract.topics import partition_of
from streams.commands import USAGE, CommandError
from streams.log_source import Entry, entry_of, fold_entry
from streams.travel import incidents
from streams.travel.capsules import Capsule, Course, Kept, KeptRow, keep, read_capsule, write_capsule
from streams.travel.incidents import compare_courses, replay
from streams.travel.saving import partitions_concerned
from tables import watcher
from tables.rows import encode_row
from tables.state import State
from tests.simulation.world import WIDE
from tests.streams.recorded import record_seed

KEPT = sorted(Path(__file__).parent.parent.joinpath("capsules").glob("*.capsule"))


@cache
def held(name: str) -> Capsule:
    """One of the kept incidents."""
    return read_capsule(next(path for path in KEPT if path.stem == name))


def entries(capsule: Capsule) -> list[Entry]:
    """The records of its log."""
    return [entry_of(record.offset, record.append_ms, record.raw) for record in capsule.events]


def offset_of(capsule: Capsule, kind: type[e.Event]) -> int:
    """The first event of a kind."""
    return next(
        entry.offset
        for entry in entries(capsule)
        if isinstance(entry.said, Recorded) and isinstance(entry.said.event, kind)
    )


def cut(capsule: Capsule, start: int) -> Capsule:
    """The same incident from a later record on, with a snapshot in the place of what came before."""
    state = State()
    for entry in entries(capsule):
        if entry.offset < start:
            fold_entry(state, entry)
    return msgspec.structs.replace(
        capsule,
        start=start,
        now_ms=state.now_ms,
        rows=[KeptRow(table, key, encode_row(row).decode()) for table, key, row in state.all_rows()],
        events=[record for record in capsule.events if record.offset >= start],
    )


def call(*args: str) -> Result:
    """Run the command line."""
    return CliRunner().invoke(main, ["capsule", *args], prog_name="cli.py")


def test_there_are_kept_incidents() -> None:
    """An empty folder would prove nothing."""
    assert {path.stem for path in KEPT} >= {
        "node-killed",
        "node-silent",
        "app-hung",
        "leader-killed",
        "broker-away",
        "brake-engaged",
    }


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_incident_replays_to_the_same_verdicts(path: Path) -> None:
    """The fold has the same hash after each record, and the watcher finds the facts of the log and no others."""
    capsule = read_capsule(path)
    course = replay(capsule).course
    assert compare_courses(capsule, course) is None
    assert course.missed == []
    assert course.unwritten == []
    facts = {
        entry.said.id
        for entry in entries(capsule)
        if isinstance(entry.said, Recorded) and is_fact(entry.said.event)
    }
    assert facts == {fact.event_id for fact in course.found}


def is_fact(event: e.Event) -> bool:
    """Whether a watcher wrote it."""
    return isinstance(
        event,
        e.NodeRegistered
        | e.ProvisionerRegistered
        | e.SourceFellSilent
        | e.SourceReturned
        | e.AppStarted
        | e.AppExited
        | e.NodeExited
        | e.OverdueShareChanged,
    )


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_snapshot_in_the_place_of_the_beginning_changes_nothing(data: st.DataObject) -> None:
    """Wherever the stretch begins, the fold is the same from there on, and no fact is missed."""
    capsule = held(data.draw(st.sampled_from([path.stem for path in KEPT])))
    start = data.draw(st.integers(1, capsule.event))
    course = replay(cut(capsule, start)).course
    assert course.hashes == capsule.course.hashes[start - capsule.start :]
    assert course.missed == []


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
@pytest.mark.parametrize("behind_ms", [50, 2_000, 30_000])
def test_log_whose_clock_is_behind_misses_no_fact(path: Path, behind_ms: int) -> None:
    """Two brokers have two clocks: a fact comes after the heartbeats that it cites all the same."""
    capsule = read_capsule(path)
    events = [Kept(each.offset, each.append_ms - behind_ms, each.value) for each in capsule.events]
    assert replay(msgspec.structs.replace(capsule, events=events)).course.missed == []


def test_file_holds_what_was_written(tmp_path: Path) -> None:
    """Garbage in the log and on the heartbeats survives, byte by byte."""
    garbage = [Kept(0, 1, bytes(range(256)).decode("latin-1")), Kept(1, 2, None)]
    course = Course(hashes=["", ""])
    capsule = msgspec.structs.replace(
        held("app-hung"), event=1, events=garbage, heartbeats={3: garbage}, course=course
    )
    write_capsule(tmp_path / "a.capsule", capsule)
    assert read_capsule(tmp_path / "a.capsule") == capsule
    assert garbage[0].raw == bytes(range(256))


def without_heartbeat(capsule: Capsule, partition: int, offset: int) -> Capsule:
    """A capsule that lacks one heartbeat."""
    kept = [record for record in capsule.heartbeats[partition] if record.offset != offset]
    return msgspec.structs.replace(capsule, heartbeats={**capsule.heartbeats, partition: kept})


def test_missing_heartbeat_names_the_first_offset_that_differs(tmp_path: Path) -> None:
    """Without the report that said so, the silence is found later: exit code 1, and the offset."""
    capsule = held("app-hung")
    offset = offset_of(capsule, e.SourceFellSilent)
    event: Any = entries(capsule)[offset].said
    changed = without_heartbeat(capsule, event.event.partition, event.event.until_offset)
    found = compare_courses(capsule, replay(changed).course)
    assert found is not None
    assert found.offset == offset - 1  # what was folded when the watcher found it
    path = tmp_path / "a.capsule"
    write_capsule(path, changed)
    result = call("replay", str(path))
    assert result.exit_code == 1
    assert f"differs at offset {found.offset}" in result.output
    document = json.loads(call("replay", str(path), "-o", "json").output)
    assert document["difference"]["offset"] == found.offset


def test_changed_event_names_the_first_offset_that_differs() -> None:
    """A record of the log that says something else changes the fold from there on."""
    capsule = held("node-killed")
    offset = offset_of(capsule, e.AppSubmitted)
    events = list(capsule.events)
    value = events[offset].value or ""
    assert "application-1" in value
    events[offset] = Kept(
        offset, events[offset].append_ms, value.replace('"application-1"', '"application-9"')
    )
    found = compare_courses(capsule, replay(msgspec.structs.replace(capsule, events=events)).course)
    assert found is not None
    assert found.offset == offset


def test_record_that_counts_all_of_a_sudden_is_a_difference() -> None:
    """What the fold dropped and drops no more is named, and the other way round."""
    capsule = held("app-hung")
    assert capsule.course.dropped == []
    course = msgspec.structs.replace(capsule.course, dropped=[7])
    found = compare_courses(capsule, course)
    assert found is not None
    assert (found.offset, found.text) == (7, "the fold drops this record now")
    found = compare_courses(msgspec.structs.replace(capsule, course=course), capsule.course)
    assert found is not None
    assert (found.offset, found.text) == (7, "the fold takes this record now")


def repack(path: Path, change: Any, *, seal: bool) -> None:
    """Change the text of a capsule, with a seal that fits or with the old one."""
    head, body = zstandard.ZstdDecompressor().decompress(path.read_bytes()).split(b"\n")[:2]
    body = change(body)
    if seal:
        head = json.dumps({"capsule": 1, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(b"\n".join([head, body, b""])))


def test_changed_file_is_found_by_its_hash(tmp_path: Path) -> None:
    """One letter that is another one: exit code 2 and a sentence."""
    path = tmp_path / "a.capsule"
    write_capsule(path, held("app-hung"))
    repack(path, lambda body: body.replace(b"application-1", b"application-2", 1), seal=False)
    result = call("replay", str(path))
    assert result.exit_code == USAGE
    assert "was changed after it was saved" in result.output


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: b"what is this", "not packed with zstd, or cut short"),
        (lambda raw: raw[: len(raw) // 2], "not packed with zstd, or cut short"),
        (lambda _: b"", "not packed with zstd, or cut short"),
        (lambda _: zstandard.compress(b"{}\n{}\n"), "it has no seal"),
        (lambda _: zstandard.compress(b'{"capsule": 9, "sha256": ""}\n{}\n'), "capsule of format 9"),
    ],
)
def test_what_is_no_capsule_is_one_sentence(tmp_path: Path, make: Any, words: str) -> None:
    """Exit code 2, the file's name, and what is wrong with it."""
    path = tmp_path / "a.capsule"
    write_capsule(path, held("app-hung"))
    path.write_bytes(make(path.read_bytes()))
    result = call("replay", str(path))
    assert result.exit_code == USAGE
    assert words in result.output
    assert str(path) in result.output
    assert len(result.output.splitlines()) == 1


def test_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """Exit code 2."""
    result = call("replay", str(tmp_path / "b.capsule"))
    assert result.exit_code == USAGE
    assert "b.capsule cannot be read: No such file" in result.output


NONSENSE: dict[str, tuple[dict[str, Any], str]] = {
    "elsewhere": ({"event": 99}, "event 99 is not among its events"),
    "empty": ({"events": []}, "event 20 is not among its events"),
    "unhashed": ({"course": Course()}, "it has 0 hashes for 25 events"),
    "backwards": ({"heartbeats": {1: [Kept(5, 1, None), Kept(4, 2, None)]}}, "offsets do not grow in 1"),
    "no bytes": ({"heartbeats": {1: [Kept(5, 1, "\u2192")]}}, "latin-1"),
    "no row": ({"rows": [KeptRow("nodes", "x", "{}")]}, "missing required field"),
    "no table": ({"rows": [KeptRow("planets", "x", "{}")]}, "planets"),
}


@pytest.mark.parametrize(("fields", "words"), NONSENSE.values(), ids=NONSENSE)
def test_sealed_nonsense_is_no_capsule(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    """A seal that fits makes no incident of something else: exit code 2 and one sentence."""
    path = tmp_path / "a.capsule"
    write_capsule(path, msgspec.structs.replace(held("app-hung"), **fields))
    result = call("replay", str(path))
    assert result.exit_code == USAGE
    assert "is no capsule" in result.output
    assert words in result.output
    assert len(result.output.splitlines()) == 1


def test_sealed_document_of_another_kind_is_no_capsule(tmp_path: Path) -> None:
    """The same for what is not even like one."""
    path = tmp_path / "a.capsule"
    write_capsule(path, held("app-hung"))
    repack(path, lambda _: b'{"event": "seven"}', seal=True)
    with pytest.raises(CommandError, match="is no capsule"):
        read_capsule(path)


def test_replay_tells_the_story() -> None:
    """Each event with its distance to the one that it is about, and the heartbeat that showed a fact."""
    path = next(path for path in KEPT if path.stem == "app-hung")
    capsule = held("app-hung")
    result = call("replay", str(path))
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith(">")]
    event: Any = entries(capsule)[capsule.event].said
    assert "source.fell-silent" in line
    assert f"[heartbeat {event.event.partition}/{event.event.until_offset}]" in line
    assert "the same fold and the same" in result.output


def test_brake_needs_all_partitions() -> None:
    """The share of overdue nodes is counted over all of them; anything else needs those it speaks of."""
    said = Recorded("x", "x", "", "", e.OverdueShareChanged(1, "most", 3, 4, []))
    assert partitions_concerned([Entry(0, 0, said, b"")], []) == list(range(8))
    assert partitions_concerned([], [(5, 1, 2), (3, 0, 0)]) == [3, 5]


@contextmanager
def few_partitions() -> Iterator[None]:
    """Partitions as the simulator counts them."""
    defaults = partition_of.__kwdefaults__
    assert defaults is not None
    before = defaults["partitions"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watcher, "WIDE_PARTITIONS", WIDE)
        patch.setattr(incidents, "WIDE_PARTITIONS", WIDE)
        defaults["partitions"] = WIDE
        try:
            yield
        finally:
            defaults["partitions"] = before


@pytest.mark.parametrize("seed", [2, 5, 11])
def test_replay_of_a_night_of_faults_finds_every_fact(seed: int) -> None:
    """Whatever died, hung, was paused or came late: what live watchers found, the replay finds by then, and no more."""
    night = record_seed(seed)
    capsule = Capsule(
        event=0,
        start=0,
        end=night.log.end,
        prefix="watchkeep",
        events_id="events-1",
        heartbeats_id=night.heartbeats.topic_id,
        versions={},
        policy={},
        policy_offset=-1,
        now_ms=0,
        rows=[],
        events=[keep(entry.offset, entry.append_ms, entry.raw) for entry in night.log.entries],
        heartbeats={
            partition: [keep(offset, *heard) for offset, heard in sorted(beats.items())]
            for partition, beats in night.heartbeats.beats.items()
        },
    )
    with few_partitions():
        course = replay(capsule).course
    assert len(course.found) > 10
    assert course.missed == []
    kinds = {fact.event_id: fact.kind for fact in course.found}
    # A share of the overdue that crossed a bound while nobody led is the only thing that none of them wrote.
    assert {kinds[each] for each in course.unwritten} <= {"OverdueShareChanged"}
