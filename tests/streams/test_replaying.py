"""Replay: what an event changed, and files of the log."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sdk.contract.events import AppStarted, Position
from streams.commands import CommandError
from streams.log_files import entry_document, read_file
from streams.replaying import RecordingState, field_changes, step
from tests.streams.logs import Log


@pytest.fixture
def log() -> Log:
    """A log with a node, an app, an event that was dropped and a garbage record."""
    log = Log()
    log.start()
    generation = log.add_app("application-a", "node-127.0.0.1_8082")
    log.add(AppStarted("application-a", generation, "node-127.0.0.1_8082", Position(0, 99)), accepted=False)
    log.add_raw(b"\xffgarbage")
    log.add_raw(None)
    return log


def test_replay_says_what_each_event_changed(log: Log) -> None:
    """The steps end in the same state, and name the row and the fields that changed."""
    state = RecordingState()
    steps = [step(state, entry) for entry in log.entries]

    started = next(
        done for done in steps if "AppStarted" in type(getattr(done.entry.said, "event", 0)).__name__
    )
    changes = {
        change.table: {field: (old, new) for field, old, new in field_changes(change)}
        for change in started.changes
    }

    assert state.tables == log.state.tables
    assert [done.outcome for done in steps] == log.outcomes
    assert changes["apps"]["phase"] == ("placed", "running")


def test_replay_of_a_dropped_event_changes_counters_only(log: Log) -> None:
    """An event that the fold dropped has a reason and no change beside its counter."""
    state = RecordingState()
    steps = [step(state, entry) for entry in log.entries]
    dropped = [done for done in steps if not done.outcome.accepted]

    assert dropped[0].outcome.dropped == "it is running"
    assert all({change.table for change in done.changes} == {"counters"} for done in dropped)


def test_file_of_the_log_reads_back_as_it_was(log: Log, tmp_path: Path) -> None:
    """What `events tail -o json` prints, garbage included, replays as the log itself."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(entry_document(entry)) for entry in log.entries) + b"\n")

    again = list(read_file(path))

    assert [(e.offset, e.append_ms, e.raw) for e in again] == [
        (e.offset, e.append_ms, e.raw) for e in log.entries
    ]
    assert [str(e.said) for e in again] == [str(e.said) for e in log.entries]


def test_file_with_a_bad_line_names_it(tmp_path: Path) -> None:
    """A line that is no record ends in one sentence with its number."""
    path = tmp_path / "log.jsonl"
    path.write_text('\n{"offset": "x"}\n')

    with pytest.raises(CommandError, match="line 2"):
        list(read_file(path))
