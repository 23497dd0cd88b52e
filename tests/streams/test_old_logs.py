"""Logs of older platforms, kept as they were exported: they fold to the same tables for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.log_files import read_file
from streams.log_source import fold_entry
from tables.digest import digest_of
from tables.invariants import check_invariants
from tables.state import State

KEPT = Path(__file__).with_name("kept")
#: File -> the hash of its fold when it was exported (but for the counters, which go by the names of types), and a type
#: of its records that is not written any more.
HASHES = {
    # A demo whose node was killed by its silence; exported by fold version 6.
    "dead-node-1.jsonl.zst": (
        "7fb64d28900895a1f5c91f8b0370ee4962f2a30b3dab6598d0a6ddff54ac31c5",
        b'"watchkeep.app.placed.v1"',
    ),
}


def test_every_kept_log_is_looked_at() -> None:
    """A file without a hash would prove nothing."""
    assert sorted(path.name for path in KEPT.iterdir()) == sorted(HASHES)


@pytest.mark.parametrize("name", HASHES)
def test_an_old_log_folds_as_it_did(name: str) -> None:
    """Old versions of events are stepped up, all of them count as they did, and the tables are the same."""
    digest, old_type = HASHES[name]
    state, dropped, raw = State(), [], b""
    for entry in read_file(KEPT / name):
        raw += entry.raw or b""
        outcome = fold_entry(state, entry)
        if not outcome.accepted:
            dropped.append((entry.offset, outcome.dropped))

    assert old_type in raw
    assert dropped == []
    assert check_invariants(state) == []
    state.tables["counters"].clear()
    assert digest_of(state) == digest
