"""Time travel: snapshots, histories, two moments compared, timelines and the search for a first event."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.commands import CommandError
from streams.log_files import FileWriter, read_file
from streams.log_source import fold_entry
from streams.replaying import RecordingState
from streams.travel.archive import Archive
from streams.travel.comparing import compare
from streams.travel.logs import FileLog, begin_at, end_at
from streams.travel.searching import find_first, halve
from streams.travel.timelines import read_timeline
from tables.digest import digest_of
from tables.expressions import parse_expression
from tables.invariants import check_invariants
from tables.state import State
from tests.streams.past import MemoryLog, folded, long_log

run = asyncio.run
LOG = long_log(1_050)
CHAPTER = 100


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the archive of the log."""
    folder = tmp_path_factory.mktemp("archive")
    run(Archive(folder, LOG, chapter=CHAPTER).complete())
    return folder


# --- the archive ---------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1_050))
def test_state_at_any_offset_is_the_fold_up_to_there(root: Path, at: int) -> None:
    """From the nearest snapshot on comes the same state, with the same indexes, as from the beginning."""
    archive = Archive(root, LOG, chapter=CHAPTER)

    state = run(archive.state_at(at))

    assert digest_of(state) == digest_of(folded(LOG, at))
    assert check_invariants(state) == []
    assert archive.read == (at >= CHAPTER)
    assert archive.written == 0


def test_only_what_follows_the_snapshot_is_read(root: Path) -> None:
    """The log is read from the snapshot on, not from its beginning."""
    log = MemoryLog(LOG.entries)

    run(Archive(root, log, chapter=CHAPTER).state_at(750))

    assert log.reads == [700]


def test_broken_chapter_is_folded_again(tmp_path: Path) -> None:
    """A file that was cut, or that belongs elsewhere, is thrown away; the state is the same and the file comes back."""
    run(Archive(tmp_path, LOG, chapter=CHAPTER).complete())
    files = sorted(tmp_path.rglob("*.chapter"))
    files[2].write_bytes(files[2].read_bytes()[:40])
    files[4].write_bytes(files[1].read_bytes())
    raw = bytearray(files[6].read_bytes())
    raw[-1000:] = bytes(1000)
    files[6].write_bytes(raw)
    archive = Archive(tmp_path, LOG, chapter=CHAPTER)

    for at in (350, 550, 750):
        assert digest_of(run(archive.state_at(at))) == digest_of(folded(LOG, at))
    run(Archive(tmp_path, LOG, chapter=CHAPTER).complete())

    assert len(list(tmp_path.rglob("*.chapter"))) == 10
    assert not list(tmp_path.rglob("*.part"))


def test_archives_of_two_logs_do_not_mix(root: Path) -> None:
    """Another log under the same folder starts from nothing."""
    other = long_log(450, seed=2)
    other.log_id = "other"

    assert digest_of(run(Archive(root, other, chapter=CHAPTER).state_at(450))) == digest_of(
        folded(other, 450)
    )


def test_log_that_was_cut_keeps_no_state_from_beyond_its_end(root: Path) -> None:
    """Snapshots past the end of the log are not used."""
    cut = MemoryLog(LOG.entries[:650])

    assert digest_of(run(Archive(root, cut, chapter=CHAPTER).state_at(10_000))) == digest_of(folded(cut, 650))


def test_archives_that_nobody_asks_for_are_thrown_away(tmp_path: Path) -> None:
    """Beside the newest few, archives go."""
    for number in range(12):
        Archive(tmp_path, MemoryLog(LOG.entries[:10], f"log-{number}"))

    assert len(list((tmp_path / "travel").iterdir())) == 8


# --- moments -------------------------------------------------------------------------------------------


def test_moments_are_offsets_or_times() -> None:
    """A stretch begins with a record at or after a moment, and a state ends with one at or before it."""
    from datetime import UTC, datetime

    entry = LOG.entries[500]
    then = datetime.fromtimestamp(entry.append_ms / 1_000, UTC)

    assert run(end_at(LOG, 500)) == run(end_at(LOG, then)) == 501
    assert run(begin_at(LOG, 500)) == run(begin_at(LOG, then)) == 500
    assert run(end_at(LOG, None)) == run(end_at(LOG, 99_999)) == 1_050


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.zst"])
def test_file_folds_to_the_same_hash(tmp_path: Path, name: str) -> None:
    """A log that was written to a file, compressed or not, reads back as it was."""
    path = tmp_path / name
    with FileWriter(path) as file:
        file.write(LOG.entries[:600])
        file.write(LOG.entries[600:])
    state = State()
    for entry in read_file(path):
        fold_entry(state, entry)

    assert file.count == 1_050
    assert digest_of(state) == digest_of(folded(LOG, 1_050))
    assert FileLog(path).end == 1_050
    assert digest_of(run(Archive(tmp_path, FileLog(path), chapter=CHAPTER).state_at(700))) == digest_of(
        folded(LOG, 700)
    )
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == [name]


def test_file_that_goes_back_is_refused(tmp_path: Path) -> None:
    """Offsets only grow in a log; a file in which they do not is none."""
    path = tmp_path / "log.jsonl"
    with FileWriter(path) as file:
        file.write([LOG.entries[3], LOG.entries[2]])

    with pytest.raises(CommandError, match="line 2: offset 2 after 3"):
        list(read_file(path))


def test_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """A file appears under its name only when it is whole."""
    with pytest.raises(AttributeError), FileWriter(tmp_path / "log.jsonl") as file:
        file.write([*LOG.entries[:5], None])  # type: ignore[list-item]  # what nobody can write

    assert list(tmp_path.iterdir()) == []


# --- two moments ---------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1_050), st.integers(0, 1_050))
def test_difference_is_that_of_the_two_states(root: Path, one: int, other: int) -> None:
    """The rows that differ, and their fields, are those of two folds compared row by row."""
    start, end = sorted((one, other))
    before, after = folded(LOG, start), folded(LOG, end)

    found = run(compare(Archive(root, LOG, chapter=CHAPTER), start=start, end=end, counters=True))

    keys = {(t, k) for t, k, _ in before.all_rows()} | {(t, k) for t, k, _ in after.all_rows()}
    differing = {(t, k) for t, k in keys if before.tables[t].get(k) != after.tables[t].get(k)}
    assert {(each.table, each.key) for each in found} == differing


def test_difference_names_the_events_that_made_it(root: Path) -> None:
    """Each field that differs names events between the two moments, the last of which gave it its value."""
    found = run(compare(Archive(root, LOG, chapter=CHAPTER), start=400, end=520))

    assert found
    for row in found:
        for field in row.fields:
            assert all(400 <= offset < 520 for offset in field.offsets)
            after = folded(LOG, field.offsets[-1] + 1).tables[row.table].get(row.key)
            if row.is_now and not isinstance(field.new, list | dict):
                assert getattr(after, field.field) == field.new


# --- timelines -----------------------------------------------------------------------------------------


def test_timeline_has_every_change_and_its_duration(root: Path) -> None:
    """The moments of an app are the events that changed its row, and together they last as long as it is known."""
    state, changed = RecordingState(), []
    for entry in LOG.entries:
        state.changes = []
        fold_entry(state, entry)
        if any((each.table, each.key) == ("apps", "application-3") for each in state.changes):
            changed.append(entry.offset)

    found = run(read_timeline(LOG, Archive(root, LOG, chapter=CHAPTER), "application-3", start=0, end=1_050))

    assert [moment.entry.offset for moment in found.moments] == changed
    begin_ms, end_ms = LOG.entries[changed[0]].append_ms, LOG.entries[-1].append_ms
    assert sum(moment.lasted_ms for moment in found.moments) == end_ms - begin_ms
    assert sum(found.in_all_ms.values()) == end_ms - begin_ms
    assert any(status.startswith("running on node-") for status in found.in_all_ms)


def test_timeline_of_a_stretch_is_part_of_the_whole(root: Path) -> None:
    """A stretch shows the moments of the whole that lie in it, in the same words."""
    archive = Archive(root, LOG, chapter=CHAPTER)
    whole = run(read_timeline(LOG, archive, "application-3", start=0, end=1_050))

    part = run(read_timeline(LOG, archive, "application-3", start=250, end=777))

    inside = [moment for moment in whole.moments if 250 <= moment.entry.offset < 777]
    assert [(m.entry.offset, m.status) for m in part.moments] == [(m.entry.offset, m.status) for m in inside]


# --- the first event -----------------------------------------------------------------------------------

TEXTS = [
    "app application-3 is silent",
    "app application-3 failures >= 6 and app application-5 failures >= 4",
    "nodes down >= 2",
    "not app application-8 is running and app application-8 exists",
    "app application-1 on node-10.0.0.1_1 or brake is on",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("start", "end"), [(0, 1_050), (430, 1_050), (0, 333), (1_010, 1_050)])
def test_first_event_is_the_one_that_folding_finds(root: Path, text: str, start: int, end: int) -> None:
    """Histories of rows give the event that folding one by one from the start gives."""
    expression = parse_expression(text)
    state, expected = folded(LOG, start), -1
    held = expression.holds(state.tables)
    for entry in LOG.entries[start:end]:
        fold_entry(state, entry)
        if expression.holds(state.tables):
            expected = entry.offset
            break

    found = run(find_first(Archive(root, LOG, chapter=CHAPTER), expression, start=start, end=end))

    assert found.held_before is held
    assert held or found.offset == expected


def test_halving_finds_an_event_at_which_it_began_to_hold(root: Path) -> None:
    """It does not hold before that event and does after it; snapshots are halved, not all folded."""
    log = MemoryLog(LOG.entries)
    expression = parse_expression("nodes down >= 2")

    found = run(halve(Archive(root, log, chapter=CHAPTER), expression, good=20, bad=1_000))

    assert not expression.holds(folded(LOG, found.offset).tables)
    assert expression.holds(folded(LOG, found.offset + 1).tables)


def test_halving_between_moments_that_do_not_fit_is_refused(root: Path) -> None:
    """Where it holds at the good moment, or not at the bad one, there is nothing to look for."""
    archive = Archive(root, LOG, chapter=CHAPTER)

    with pytest.raises(CommandError, match="--good 9 must lie before"):
        run(halve(archive, parse_expression("nodes > 100"), good=9, bad=9))
    with pytest.raises(CommandError, match="holds after offset 500 already"):
        run(halve(archive, parse_expression("nodes > 1"), good=500, bad=900))
    with pytest.raises(CommandError, match="does not hold after offset 900"):
        run(halve(archive, parse_expression("nodes > 100"), good=500, bad=900))
