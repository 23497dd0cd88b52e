"""Who is owed a fact by a watcher that was away, and what is judged of watchers that share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fleets.crowd import Size
from bench.fleets.judge import GRACE_MS, Found, Truth, judge
from bench.fleets.loader import Offered
from bench.fleets.runs import check_offered
from bench.fleets.script import Outage
from bench.results import VoidError
from bench.shared import over_after
from bench.starts import who_must_be_found

LIMIT_MS = 10_000
FRESH_MS, END_MS = 100_000, 160_000


def _owed(truth: Truth) -> bool:
    owed = who_must_be_found([truth], fresh_ms=FRESH_MS, end_ms=END_MS, limit_ms=LIMIT_MS)
    return truth.source in owed


def test_who_died_while_nobody_watched_is_owed_a_fact() -> None:
    """However long ago that was, if it lasts; what came back meanwhile is history."""
    assert _owed(Truth("dead", 1_000, 0))
    assert not _owed(Truth("was away", 1_000, FRESH_MS - 1))


def test_time_to_find_counts_from_when_all_was_read() -> None:
    """Limit and grace after that, not after the last record."""
    back_ms = FRESH_MS + LIMIT_MS + GRACE_MS

    assert _owed(Truth("long", 1_000, back_ms))
    assert not _owed(Truth("back in time", 1_000, back_ms - 1))
    assert not _owed(Truth("late", END_MS - LIMIT_MS, 0))


@given(st.integers(1, END_MS), st.integers(0, END_MS), st.integers(0, END_MS))
def test_nobody_is_owed_who_was_not_silent_for_the_limit(last_ms: int, away_ms: int, fresh_ms: int) -> None:
    """Nobody who is not missed by the judge of a watcher that was never away."""
    truth = Truth("node", last_ms, last_ms + away_ms if away_ms else 0)
    owed = who_must_be_found([truth], fresh_ms=fresh_ms, end_ms=END_MS, limit_ms=LIMIT_MS)

    assert owed <= set(judge([truth], [], end_ms=END_MS, limit_ms=LIMIT_MS).missed)


def test_only_limits_that_were_over_after_the_kill_are_timed() -> None:
    """Invented facts are not, nor is what was found before."""
    truths = [Truth("before", 1_000, 0), Truth("after", 45_000, 0), Truth("lives", 46_000, 47_000)]
    found = [
        Found("before", returned=False, at_ms=11_100),
        Found("after", returned=False, at_ms=55_250),
        Found("lives", returned=False, at_ms=56_100),
    ]
    verdicts = judge(truths, found, end_ms=END_MS, limit_ms=LIMIT_MS)

    over = over_after(truths, found, verdicts, from_ms=50_000, limit_ms=LIMIT_MS)

    assert verdicts.invented == ["lives"]
    assert over == {"after": 250}


def _offered(records: int, late_ms_max: int = 100) -> Offered:
    return Offered([], records, 0, late_ms_max, 0, 1.0, began_ms=0, end_ms=50_000)


def test_fleet_that_beat_too_little_makes_a_run_void() -> None:
    """What the script silences is not asked for: one node of two was silent from the middle on."""
    size, outages = Size(2, 1, 0), [Outage("node", 0, -1, 25_000, 0), Outage("app", 1, 0, 1_000, 0)]

    check_offered(size, _offered(30), outages)
    with pytest.raises(VoidError, match="only 75"):
        check_offered(size, _offered(30))


def test_record_so_late_that_its_source_was_silent_makes_a_run_void() -> None:
    """The judge would call true what the loader did."""
    with pytest.raises(VoidError, match="4501 ms after its time"):
        check_offered(Size(0, 0, 10), _offered(100, late_ms_max=4_501))
