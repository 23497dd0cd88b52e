"""The recording that the replay bench makes is one that `whatif` reads, and holds what it says."""

from __future__ import annotations

from pathlib import Path

from bench.recorded_day import write_day
from sdk.contract.topics import WIDE_PARTITIONS
from streams.log_files import BeatRecord, beat_line, decode_line, open_to_read, read_file
from streams.travel.recordings import Stretch, replay_file
from streams.travel.verdicts import compare_found


def test_the_pauses_of_a_made_recording_are_found_and_nothing_else(tmp_path: Path) -> None:
    """A node that leaves out two reports is a false silence under 6 s, and none under 10 s."""
    path = tmp_path / "day.jsonl.zst"
    written = write_day(path, hours=0.2, nodes=8, apps=16, lone=4)
    rules: list[dict[str, int | bool | str]] = [{"silence_limit_ms": 6_000}, {}]

    comparison = compare_found(replay_file(path, list(rules), Stretch()), list(rules))

    quick, today = comparison.columns
    assert (quick.totals.silences, quick.totals.false) == (written.pauses, written.pauses)
    assert today.totals.silences == 0
    assert comparison.beats == written.beats
    assert len(list(read_file(path))) == written.events


def test_its_lines_are_those_of_an_export(tmp_path: Path) -> None:
    """Each heartbeat stands there as `events export --beats` writes it, offsets without gaps."""
    path = tmp_path / "day.jsonl.zst"
    write_day(path, hours=0.01, nodes=3, apps=3, lone=2)
    nexts = [0] * WIDE_PARTITIONS

    with open_to_read(path) as (file, _):
        for number, text in enumerate(file, start=1):
            line, raw = decode_line(text, path, number)
            if line.partition < 0:
                continue
            assert text == beat_line(BeatRecord(line.partition, line.offset, line.append_ms, raw)) + b"\n"
            assert line.offset == nexts[line.partition]
            nexts[line.partition] += 1
    assert all(nexts)
