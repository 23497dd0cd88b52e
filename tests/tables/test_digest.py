"""The hash of a state: the same whoever folds, whatever the order, and another for every difference."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.log_source import fold_entry
from tables.digest import Digest, digest_of
from tables.state import State
from tests.streams.past import folded, long_log

LOG = long_log(600)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=5))
def test_kept_hash_is_that_of_all_rows(stops: list[int]) -> None:
    """A hash kept up to date from the rows that change is the one computed from all rows, wherever it is asked."""
    state = State()
    digest = Digest(state)
    for entry in LOG.entries:
        if entry.offset in stops:
            assert digest.take() == digest_of(state)
        fold_entry(state, entry)
    assert digest.take() == digest_of(state)


def test_hash_begins_anywhere() -> None:
    """A state that was loaded has the same hash as the one that was folded, in whatever order its rows came."""
    state = folded(LOG, 500)
    rows = list(state.all_rows())
    random.Random(1).shuffle(rows)
    loaded = State()
    loaded.load(rows, offset=state.offset, now_ms=state.now_ms)

    assert digest_of(loaded) == digest_of(state) == Digest(loaded).take()


def test_hash_is_another_for_every_difference() -> None:
    """One field of one row, a row less, another offset or another time: each changes the hash."""
    state = folded(LOG, 500)
    hashes = {digest_of(state)}
    app, row = next(iter(state.apps.items()))
    state.put("apps", app, replace(row, failures=row.failures + 1))
    hashes.add(digest_of(state))
    del state.tables["requests"][next(iter(state.tables["requests"]))]
    hashes.add(digest_of(state))
    state.offset += 1
    hashes.add(digest_of(state))
    state.now_ms += 1
    hashes.add(digest_of(state))

    assert len(hashes) == 5
