"""Records to bytes and back, and what happens to everything else."""

import contextlib
import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract.codec import (
    RECORD_BYTES_MAX,
    DecodeError,
    decode_event,
    decode_heartbeat,
    decode_orders,
    decode_request,
    encode_event,
    encode_heartbeat,
    encode_orders,
    encode_request,
    event_name,
    rfc3339,
)
from sdk.contract.events import EVENT_TYPES, Event, subject_of
from sdk.contract.heartbeats import Beat, Heartbeat, Hello, PoolReport, Report, Tick, Unchanged
from sdk.contract.orders import NodeOrders, Orders, PoolOrders
from sdk.contract.requests import REQUEST_TYPES
from tests.contract.samples import EVENTS, read_golden
from tests.contract.strategies import of_struct

_FEW = settings(max_examples=8)
_DECODERS: dict[str, Callable[[bytes | None], Any]] = {
    "events": decode_event,
    "heartbeats": decode_heartbeat,
    "node-orders": lambda value: decode_orders("node-1_1", value),
    "pool-orders": lambda value: decode_orders("pool-home", value),
    "requests": decode_request,
}
_DEEP = "[" * 50_000
_GARBAGE: dict[str, bytes | None] = {
    "null value": None,
    "nothing": b"",
    "json null": b"null",
    "a number": b"1",
    "no text": b"\xff\xfe\x00",
    "cut short": b'{"id": "x", "type',
    "lone surrogate": b'{"id": "\\ud800"}',
    "empty object": b"{}",
    "empty array": b"[]",
    "unknown tag": b'["z", 1]',
    "deep arrays": _DEEP.encode(),
    "deep objects": b'{"a":' * 50_000,
    "deep in a known field": b'["b", "x", 0, 0, ' + _DEEP.encode(),
    "over 1 MiB": b'["b", "' + b"x" * RECORD_BYTES_MAX + b'", 0, 0, 0]',
    "infinite": b'["r", "n", 1, 1, 1, 1, [], 1e999]',
    "not a number": b'["r", "n", 1, 1, 1, 1, [], NaN]',
    "huge": b'["b", "x", 0, 0, ' + b"9" * 5_000 + b"]",
    "unknown type": b'{"id":"1","type":"watchkeep.nothing.v9","source":"s","subject":"x","time":"t","data":{}}',
}


def _event_with(data: str, name: str = "watchkeep.nodes.requested.v1") -> bytes:
    head = {"id": "1", "type": name, "source": "s", "subject": "x", "time": "t"}
    return (json.dumps(head)[:-1] + f', "data": {data}}}').encode()


@pytest.mark.parametrize("name", EVENT_TYPES)
@_FEW
@given(data=st.data())
def test_event_survives(name: str, data: st.DataObject) -> None:
    """An event is read as it was written, with its id, type, cause and writer."""
    event = cast("Event", data.draw(of_struct(EVENT_TYPES[name][0])))
    text = st.text(max_size=5)
    event_id, cause, writer = data.draw(text), data.draw(text), data.draw(text)
    recorded = decode_event(encode_event(event, event_id=event_id, cause=cause, writer=writer, at_ms=0))
    assert (recorded.event, recorded.id, recorded.cause, recorded.writer) == (event, event_id, cause, writer)
    assert recorded.type == name == event_name(event)


@pytest.mark.parametrize("kind", [Beat, Tick, Hello, Report, PoolReport, Unchanged])
@_FEW
@given(data=st.data())
def test_heartbeat_survives(kind: type[Heartbeat], data: st.DataObject) -> None:
    """A heartbeat record is read as it was written."""
    record = data.draw(of_struct(kind))
    assert decode_heartbeat(encode_heartbeat(record)) == record


@pytest.mark.parametrize(("kind", "key"), [(NodeOrders, "node-10.0.0.1_1"), (PoolOrders, "pool-home")])
@_FEW
@given(data=st.data())
def test_orders_survive(kind: type[Orders], key: str, data: st.DataObject) -> None:
    """Orders are read as they were written, whether a node's or a pool's."""
    orders = data.draw(of_struct(kind, {"reporter": st.just(key)}))
    assert decode_orders(key, encode_orders(orders)) == orders


@pytest.mark.parametrize("name", REQUEST_TYPES)
@_FEW
@given(data=st.data())
def test_request_survives(name: str, data: st.DataObject) -> None:
    """A request is read as it was written, with its id."""
    request = data.draw(of_struct(REQUEST_TYPES[name]))
    asked = decode_request(encode_request(request, request_id="r-1", asker="me", at_ms=0))
    assert (asked.id, asked.request) == ("r-1", request)


@pytest.mark.parametrize("decoder", _DECODERS)
@pytest.mark.parametrize("what", _GARBAGE)
def test_garbage_is_refused(what: str, decoder: str) -> None:
    """What is no record of ours raises DecodeError and nothing else."""
    with pytest.raises(DecodeError):
        _DECODERS[decoder](_GARBAGE[what])


@settings(max_examples=150)
@given(value=st.binary(max_size=200), decoder=st.sampled_from(sorted(_DECODERS)))
def test_random_bytes_are_refused(value: bytes, decoder: str) -> None:
    """Random bytes raise DecodeError and nothing else."""
    with pytest.raises(DecodeError):
        _DECODERS[decoder](value)


@settings(max_examples=200)
@given(
    data=st.data(),
    kind=st.sampled_from(["events", "heartbeats", "orders", "requests"]),
    decoder=st.sampled_from(sorted(_DECODERS)),
)
def test_damaged_records_raise_nothing_else(data: st.DataObject, kind: str, decoder: str) -> None:
    """A golden record with some bytes changed is read or refused, whatever reads it."""
    value = bytearray(data.draw(st.sampled_from(sorted(read_golden(kind).values()))))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        _DECODERS[decoder](bytes(value))


@pytest.mark.parametrize(
    "number", [str(1 << 64), str(1 << 63), str((1 << 53) + 1), "-" + "9" * 30, "1e400", "1.5"]
)
def test_numbers_out_of_range_are_refused(number: str) -> None:
    """A number that a reader or a sum could not keep exactly is refused before anything sees it."""
    with pytest.raises(DecodeError):
        decode_event(_event_with(f'{{"request": "r", "pool": "p", "count": {number}}}'))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("null", "watchkeep.nodes.requested.v1"),
        ("{}", "watchkeep.nodes.requested.v1"),
        ('{"request": 1, "pool": "p", "count": 1}', "watchkeep.nodes.requested.v1"),
        ('{"request": "r", "pool": "p", "count": 1}', "watchkeep.app.placed.v2"),
        ('{"request": "r", "policy": {"silence_limit": 1}}', "watchkeep.policy.changed.v1"),
    ],
)
def test_wrong_schema_is_refused(data: str, name: str) -> None:
    """Data that does not fit its type is refused, and the reason names the type."""
    with pytest.raises(DecodeError, match=name):
        decode_event(_event_with(data, name))


def test_unknown_fields_of_an_event_are_passed_over() -> None:
    """A field that a later version added does not stop an older reader."""
    recorded = decode_event(_event_with('{"request": "r", "pool": "p", "count": 1, "later": [1]}'))
    assert type(recorded.event).__name__ == "NodesRequested"


def test_unknown_fields_of_a_request_are_refused() -> None:
    """A person who misspells a field of a request learns of it."""
    value = _event_with('{"app": "application-x", "ap": 1}', "watchkeep.request.stop-app.v1")
    with pytest.raises(DecodeError, match="ap"):
        decode_request(value)


def test_orders_under_another_key_are_refused() -> None:
    """Orders must be of the node or pool that is their key."""
    value = encode_orders(NodeOrders("node-a_1", "c", 1, "log", 1))
    with pytest.raises(DecodeError, match="under the key"):
        decode_orders("node-b_1", value)


def test_large_orders_are_refused() -> None:
    """Orders over the record limit are refused like every other record."""
    value = encode_orders(NodeOrders("node-a_1", "c" * RECORD_BYTES_MAX, 1, "log", 1))
    with pytest.raises(DecodeError, match="bytes"):
        decode_orders("node-a_1", value)


def test_time_is_shown_with_milliseconds() -> None:
    """The envelope's time is RFC 3339 in UTC, milliseconds included."""
    assert rfc3339(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"


@pytest.mark.parametrize(
    ("sample", "subject"),
    [
        ("app-submitted", "application-pump"),
        ("node-registered", "node-10.0.0.1_8101"),
        ("brake-engaged", "platform"),
        ("request-refused", "request-10"),
        ("timer-fired", "application-pump"),
    ],
)
def test_subject_is_what_the_event_is_about(sample: str, subject: str) -> None:
    """The subject, also the record's key, is the id that the event is about."""
    assert subject_of(EVENTS[sample]) == subject
