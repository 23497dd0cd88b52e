"""What was ever written is read for ever: golden bytes of every record type."""

from typing import Any

import msgspec
import pytest

from sdk.contract.events import EVENT_TYPES
from sdk.contract.heartbeats import Beat, Hello, PoolReport, Report, Tick, Unchanged
from sdk.contract.notifications import Notification
from sdk.contract.orders import NodeOrders, PoolOrders
from sdk.contract.requests import REQUEST_TYPES
from tests.contract.samples import DECODERS, ENCODERS, GROWN, SAMPLES, read_golden

_ALL = [(kind, name) for kind in SAMPLES for name in SAMPLES[kind]]


def _has_grown(old: Any, new: Any) -> bool:
    """Whether `new` is `old` with more fields, or more items at the end of an array."""
    if isinstance(old, dict):
        return all(key in new and _has_grown(value, new[key]) for key, value in old.items())
    if isinstance(old, list):
        return len(new) >= len(old) and all(map(_has_grown, old, new))
    return bool(old == new)


@pytest.mark.parametrize(("kind", "name"), _ALL)
def test_bytes_are_the_golden_ones(kind: str, name: str) -> None:
    """Each sample is written as exactly the bytes it was always written as, or with more at the end."""
    if name in GROWN.get(kind, ()):
        written = msgspec.json.decode(ENCODERS[kind](SAMPLES[kind][name]))
        golden = msgspec.json.decode(read_golden(kind)[name])
        assert _has_grown(golden, written)
        return
    assert ENCODERS[kind](SAMPLES[kind][name]) == read_golden(kind)[name]


@pytest.mark.parametrize(("kind", "name"), _ALL)
def test_golden_bytes_are_read(kind: str, name: str) -> None:
    """Each golden record is read as the object it was written from."""
    assert DECODERS[kind](read_golden(kind)[name]) == SAMPLES[kind][name]


@pytest.mark.parametrize("kind", SAMPLES)
def test_no_golden_line_without_a_sample(kind: str) -> None:
    """A sample that was once written may not vanish."""
    assert set(read_golden(kind)) <= set(SAMPLES[kind])


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("events", {record for record, _ in EVENT_TYPES.values()}),
        ("heartbeats", {Beat, Tick, Hello, Report, PoolReport, Unchanged}),
        ("orders", {NodeOrders, PoolOrders}),
        ("requests", set(REQUEST_TYPES.values())),
        ("notifications", {Notification}),
    ],
)
def test_every_type_has_golden_bytes(kind: str, types: set[type]) -> None:
    """No record type is without golden bytes."""
    assert {type(DECODERS[kind](value)) for value in read_golden(kind).values()} == types
