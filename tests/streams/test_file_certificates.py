"""`explain --file` and `verify certificates --file` read the heartbeats of a recording, so they prove."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from cli import main
from sdk.contract import events as e
from sdk.contract.codec import Recorded
from streams.log_files import BEAT_LINE, open_to_read, read_file
from streams.travel.file_heartbeats import FileHeartbeats
from streams.travel.heartbeats import Stretch

NIGHT = Path(__file__).parent.parent / "recordings" / "night.jsonl.zst"


def call(*words: str) -> Result:
    """A command as a person types it."""
    return CliRunner().invoke(main, list(words))


def _lines() -> list[bytes]:
    with open_to_read(NIGHT) as (file, _):
        return file.read().splitlines()


def _verdicts(path: Path, *more: str) -> dict[str, int]:
    result = call("verify", "certificates", "--file", str(path), "-o", "json", *more)
    assert result.exit_code == 0, result.output
    verdicts: dict[str, int] = json.loads(result.output)["verdicts"]
    return verdicts


def _silence() -> tuple[int, e.SourceFellSilent]:
    """Offset and text of a node's silence, which rests on a stretch of heartbeats."""
    for entry in read_file(NIGHT):
        event = entry.said.event if isinstance(entry.said, Recorded) else None
        if isinstance(event, e.SourceFellSilent) and event.kind == "node":
            return entry.offset, event
    raise AssertionError("no node fell silent in the night")


def test_a_recording_proves_what_happened_in_it() -> None:
    """Nothing is merely recorded: all that is cited stands in the file."""
    verdicts = _verdicts(NIGHT)

    assert set(verdicts) == {"proven", "stated"}
    assert verdicts["proven"] > 30


def test_without_its_heartbeats_it_proves_less(tmp_path: Path) -> None:
    """The same log without heartbeats: facts are recorded, and every record has a verdict as before."""
    bare = tmp_path / "bare.jsonl"
    bare.write_bytes(b"\n".join(line for line in _lines() if not line.startswith(BEAT_LINE)))

    verdicts, whole = Counter(_verdicts(bare)), Counter(_verdicts(NIGHT))

    assert verdicts["recorded"] > 5
    assert verdicts["proven"] + verdicts["recorded"] == whole["proven"]
    assert verdicts["stated"] == whole["stated"]


def test_a_stretch_is_proven_alone() -> None:
    """What is cited from before the stretch is looked up too."""
    offset, _ = _silence()

    assert _verdicts(NIGHT, "--from", str(offset), "--to", str(offset)) == {"proven": 1}


def test_a_beat_put_into_a_silence_makes_it_fail(tmp_path: Path) -> None:
    """A recording in which the node beat all the time: exit code 1, and the offset of the silence."""
    offset, event = _silence()
    last = event.from_offset
    lines = _lines()
    beat = next(
        line for line in lines if line.startswith(b'{"partition":%d,"offset":%d,' % (event.partition, last))
    )
    said = beat[beat.index(b'"beat":') :]
    at = next(
        number
        for number, line in enumerate(lines)
        if line.startswith(b'{"partition":%d,"offset":%d,' % (event.partition, last + 1))
    )
    lines[at] = lines[at][: lines[at].index(b'"beat":')] + said
    forged = tmp_path / "forged.jsonl"
    forged.write_bytes(b"\n".join(lines))

    result = call("verify", "certificates", "--file", str(forged), "-o", "json")

    assert result.exit_code == 1
    failed = {each["offset"]: each["text"] for each in json.loads(result.output)["failed"]}
    assert f"it beat at heartbeat {event.partition}/{last + 1}" in failed[offset]


def test_explain_shows_the_heartbeats_of_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last beat and the clock to the record that decided, and the verdict."""
    monkeypatch.chdir(tmp_path)
    offset, event = _silence()

    result = call("explain", str(offset), "--file", str(NIGHT), "-o", "json")

    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["certificate"] == "proven"
    assert found["clock"]["last_beat"]["retained"]
    assert found["clock"]["decided_by"]["offset"] == event.until_offset
    assert found["clock"]["passed_ms"] >= event.limit_ms


#: Partition and offset -> append time and value, read without the code that is tested.
PLACES = {
    (line["partition"], line["offset"]): (line["append_ms"], msgspec.json.encode(line["beat"]))
    for line in map(msgspec.json.decode, _lines())
    if "partition" in line
}
_STRETCH = st.tuples(st.integers(0, 9), st.integers(0, 230), st.integers(0, 60)).map(
    lambda it: (it[0], it[1], it[1] + it[2])
)


@given(st.lists(st.lists(_STRETCH, max_size=5), max_size=3))
def test_what_was_asked_for_is_there_and_nothing_else(asked: list[list[Stretch]]) -> None:
    """Whatever stretches, however they overlap and in however many questions: as in the file."""
    heartbeats = FileHeartbeats(NIGHT, "topic")
    for stretches in asked:
        asyncio.run(heartbeats.need(stretches))

    wanted = {
        (partition, at) for each in asked for partition, first, last in each for at in range(first, last + 1)
    }
    held = {(partition, at) for partition, beats in heartbeats.beats.items() for at in beats}
    assert held == wanted & PLACES.keys()
    for partition, at in held:
        assert heartbeats.beats[partition][at] == PLACES[partition, at]
