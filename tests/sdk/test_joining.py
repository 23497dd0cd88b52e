"""Sensors joined on time: which value, who is late or missing, and how much waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.joining import BUFFER, Joined, Joiner
from sdk.points import Point

_TOLERANCE_MS = 500
_PATIENCE_MS = 2_000


def _joiner(sensors: int = 2, patience_ms: int | None = _PATIENCE_MS) -> Joiner:
    return Joiner(sensors, tolerance_ms=_TOLERANCE_MS, patience_ms=patience_ms)


def _say(joiner: Joiner, sensor: int, *times_ms: int, now_ms: int = 0) -> None:
    for at_ms in times_ms:
        joiner.take(sensor, Point(f"{sensor}@{at_ms}", at_ms, at_ms), now_ms=now_ms)


def _values(rows: list[Joined]) -> list[tuple[str | None, ...]]:
    return [row.values for row in rows]


def test_a_row_has_the_nearest_value_of_the_others() -> None:
    """Before or after; the earlier one of two that are equally near."""
    joiner = _joiner()
    _say(joiner, 0, 1_000, 2_000)
    _say(joiner, 1, 600, 1_100, 1_900, 2_100, 2_501)

    assert _values(joiner.rows(known_ms=0)) == [("0@1000", "1@1100"), ("0@2000", "1@1900")]


def test_what_is_further_away_than_the_tolerance_is_missing() -> None:
    """At the tolerance it is in."""
    joiner = _joiner(3)
    _say(joiner, 0, 1_000)
    _say(joiner, 1, 500, 1_501)
    _say(joiner, 2, 499, 1_501)

    (row,) = joiner.rows(known_ms=0)

    assert row.values == ("0@1000", "1@500", None)
    assert not row.is_complete


def test_a_row_waits_until_no_better_value_can_come() -> None:
    """Not before every other sensor has spoken of a time past the tolerance."""
    joiner = _joiner()
    _say(joiner, 0, 1_000)
    _say(joiner, 1, 900)
    assert joiner.rows(known_ms=_PATIENCE_MS - 1) == []
    _say(joiner, 1, 1_500)
    assert joiner.rows(known_ms=0) == []
    _say(joiner, 1, 1_501)

    assert _values(joiner.rows(known_ms=0)) == [("0@1000", "1@900")]


def test_who_is_late_is_missing_after_the_patience_and_counted() -> None:
    """The row is not given again when the value comes."""
    joiner = _joiner()
    _say(joiner, 0, 1_000, now_ms=10)
    assert joiner.rows(known_ms=10 + _PATIENCE_MS - 1) == []
    assert _values(joiner.rows(known_ms=10 + _PATIENCE_MS)) == [("0@1000", None)]

    _say(joiner, 1, 1_000, now_ms=5_000)

    assert (joiner.rows(known_ms=9_000), joiner.late) == ([], 1)


def test_a_leading_value_of_an_earlier_time_makes_no_row() -> None:
    """Rows come in the order of time."""
    joiner = _joiner()
    _say(joiner, 0, 1_000, 3_000, 2_000)
    joiner.end(1)
    assert [row.at_ms for row in joiner.rows(known_ms=0)] == [1_000, 2_000, 3_000]

    _say(joiner, 0, 2_500)

    assert (joiner.rows(known_ms=0), joiner.late) == ([], 1)


def test_what_has_ended_is_waited_for_no_longer() -> None:
    """Without patience, which past records need none of; and it is over when the first has ended and all is given."""
    joiner = _joiner(patience_ms=None)
    _say(joiner, 0, 1_000)
    assert joiner.rows(known_ms=1 << 60) == []
    joiner.end(0)
    assert not joiner.is_over
    joiner.end(1)

    assert _values(joiner.rows(known_ms=0)) == [("0@1000", None)]
    assert joiner.is_over


def test_no_more_values_wait_than_there_is_room_for() -> None:
    """The oldest row is given as it is; the oldest value of another sensor is dropped and counted."""
    joiner = _joiner(patience_ms=None)
    _say(joiner, 0, *range(BUFFER + 3))
    assert [row.at_ms for row in joiner.rows(known_ms=0)] == [0, 1, 2]

    _say(joiner, 1, *range(10_000, 10_000 + BUFFER + 2))

    assert joiner.dropped == 2


@pytest.mark.parametrize(
    ("sensors", "tolerance_ms", "words"),
    [(1, 1, "allowed: two and more"), (2, -1, "must not be negative")],
)
def test_what_cannot_be_joined_is_refused(sensors: int, tolerance_ms: int, words: str) -> None:
    """One sensor, or a negative time."""
    with pytest.raises(ValueError, match=words):
        Joiner(sensors, tolerance_ms=tolerance_ms, patience_ms=None)


_TIMES = st.lists(st.integers(0, 20_000), max_size=40, unique=True).map(sorted)


@given(_TIMES, _TIMES, st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_how_the_sensors_interleave(
    leading: list[int], other: list[int], chance: object
) -> None:
    """With no patience, each leading value makes one row with the truly nearest value, whatever came first."""
    joiner, rows = _joiner(patience_ms=None), []
    queues = {0: list(leading), 1: list(other)}
    while any(queues.values()):
        sensor = chance.choice([it for it, queue in queues.items() if queue])  # type: ignore[attr-defined]
        _say(joiner, sensor, queues[sensor].pop(0))
        rows += joiner.rows(known_ms=0)
    joiner.end(0)
    joiner.end(1)
    rows += joiner.rows(known_ms=0)

    expected = []
    for at_ms in leading:
        near = [time for time in other if abs(time - at_ms) <= _TOLERANCE_MS]
        best = min(near, key=lambda time: (abs(time - at_ms), time), default=None)
        expected.append((f"0@{at_ms}", None if best is None else f"1@{best}"))
    assert _values(rows) == expected
    assert (joiner.late, joiner.dropped, joiner.is_over) == (0, 0, True)
