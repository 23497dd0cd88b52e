"""Hashes of the fold on the log: when they are written, and what `verify --hashes` makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract import events as e
from sdk.contract.codec import Recorded, encode_event
from streams.commands.verify import verify
from streams.core.hashing import HASH_EVERY, Hashing
from streams.log_files import FileWriter
from streams.log_source import Entry, entry_of, fold_entry
from streams.travel.hashes import verify_hashes
from tables.digest import digest_of
from tables.fold import FOLD_VERSION
from tables.state import State
from tests.simulation.hash_judge import HASH_SOON, hash_every
from tests.streams.past import MemoryLog, long_log
from tests.streams.recorded import record_seed

run = asyncio.run
PAST = long_log(400)
EVERY = 50


class Writes:
    """What a worker wants to append."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def append(self, batch: list[tuple[str, Any, str]]) -> None:
        """Keep it."""
        self.events += [(event_id, event) for event_id, event, _ in batch]

    def later(self, work: None) -> None:
        """Nothing is left to be done."""


def _worker(state: State, writes: Writes) -> Hashing:
    return Hashing(state, writes, every=EVERY)  # type: ignore[arg-type]


def _hashed_log(turns: set[int]) -> MemoryLog:
    """The past, with what a leader that turned after each of these offsets wrote at the end of it."""
    state, writes = State(), Writes()
    worker = _worker(state, writes)
    for entry in PAST.entries:
        fold_entry(state, entry)
        if entry.offset in turns:
            worker.turn(leads=True, cause="cause")
    return MemoryLog([*PAST.entries, *_entries(writes, PAST.end)])


def _entries(writes: Writes, start: int) -> Iterator[Entry]:
    for at, (event_id, event) in enumerate(writes.events):
        raw = encode_event(event, event_id=event_id, cause="", writer="worker/w/1", at_ms=1)
        yield entry_of(start + at, PAST.entries[-1].append_ms, raw)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 399), max_size=60))
def test_whenever_a_leader_turns_its_hash_is_that_of_the_log(turns: set[int]) -> None:
    """One hash for each stretch that was begun by a turn, as of the offset of that turn; all of them hold."""
    log = _hashed_log(turns)
    written = [getattr(entry.said, "event", None) for entry in log.entries[PAST.end :]]

    found = run(verify_hashes(log))

    firsts = {at // EVERY: at for at in sorted(turns, reverse=True) if at >= EVERY}
    assert [event.as_of for event in written if isinstance(event, e.FoldHashed)] == sorted(firsts.values())
    assert (found.checked, found.wrong) == (len(written), [])


def test_first_hash_that_differs_is_named() -> None:
    """One record of the past that is lost changes every hash after it, and none before."""
    log = _hashed_log(set(range(400)))
    at = next(
        entry.offset
        for entry in log.entries[180:]
        if isinstance(entry.said, Recorded) and isinstance(entry.said.event, e.SourceReturned)
    )
    log.entries[at] = entry_of(at, log.entries[at].append_ms, b"{}")

    found = run(verify_hashes(log))

    assert [each.as_of for each in found.wrong] == [each for each in range(EVERY, 400, EVERY) if each >= at]
    assert found.wrong
    assert all(each.folded and each.folded != each.said for each in found.wrong)


def test_hash_of_what_is_not_there_is_wrong() -> None:
    """A hash as of an offset that the log does not have is no proof of anything."""
    writes = Writes()
    writes.append([("id", e.FoldHashed(1, 10_000, "0" * 64, FOLD_VERSION), "")])
    log = MemoryLog([*PAST.entries, *_entries(writes, PAST.end)])

    assert [(each.offset, each.folded) for each in run(verify_hashes(log)).wrong] == [(PAST.end, "")]


def test_follower_writes_nothing_and_goes_on_where_the_leader_was() -> None:
    """Who does not lead writes no hash; when it leads it begins with the next stretch, and its hash is right."""
    state, writes = State(), Writes()
    worker = _worker(state, writes)
    for entry in PAST.entries[: 2 * EVERY + 10]:
        fold_entry(state, entry)
        worker.turn(leads=False, cause="")
    assert writes.events == []

    worker.read(e.FoldHashed(1, 2 * EVERY, "0" * 64, FOLD_VERSION))
    worker.turn(leads=True, cause="")
    assert writes.events == []
    for entry in PAST.entries[2 * EVERY + 10 : 3 * EVERY + 5]:
        fold_entry(state, entry)
    worker.turn(leads=True, cause="")

    (_, event) = writes.events[0]
    assert (event.as_of, event.hash) == (3 * EVERY + 4, digest_of(state))


def test_hash_changes_no_row_but_its_own_count() -> None:
    """The fold takes a hash of the term in force for what it is, and drops one of another term."""
    state = State()
    for entry in PAST.entries:
        fold_entry(state, entry)
    before = {(table, key): row for table, key, row in state.all_rows() if table != "counters"}
    writes = Writes()
    writes.append([("a", e.FoldHashed(state.term.term, 1, "0" * 64, 1), "")])
    writes.append([("b", e.FoldHashed(state.term.term + 1, 1, "0" * 64, 1), "")])
    outcomes = []
    for entry in _entries(writes, PAST.end):
        outcome = fold_entry(state, entry)
        assert outcome is not None
        outcomes.append(outcome.accepted)

    assert outcomes == [True, False]
    assert {(table, key): row for table, key, row in state.all_rows() if table != "counters"} == before


def test_simulated_leaders_write_hashes_that_hold() -> None:
    """Whatever is done to the workers of a world with a short interval, every hash on its log holds."""
    seeds = [seed for seed in range(1, 60) if hash_every(seed) == HASH_SOON][:3]
    for seed in seeds:
        found = run(verify_hashes(record_seed(seed).log))
        assert found.checked > 1
        assert found.wrong == []
    assert HASH_EVERY == 1_000


@pytest.mark.parametrize("honest", [True, False])
def test_command_says_whether_all_hold(tmp_path: Any, honest: bool) -> None:  # the case
    """Exit code 0 if all hashes in a file hold, else 1 and the offset from which the folds differ."""
    log = _hashed_log(set(range(400)))
    entries = log.entries if honest else [*log.entries[:60], *log.entries[61:]]
    path = tmp_path / "log.jsonl"
    with FileWriter(path) as file:
        file.write(entries)

    found = CliRunner().invoke(verify, ["--hashes", "--file", str(path)])

    assert found.exit_code == (0 if honest else 1), found.output
    assert ("all hold" if honest else f"the first as of {2 * EVERY}") in found.output
