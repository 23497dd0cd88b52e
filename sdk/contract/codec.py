"""Records to bytes and back: CloudEvents 1.0 in structured JSON, and compact arrays for heartbeats. Pure.

Rules:
1. What cannot be decoded raises `DecodeError` with a reason fit for a dead letter; nothing else escapes.
2. Numbers beyond 64 bits, documents nested past the decoder's limit and records over `RECORD_BYTES_MAX` are
   refused here, before anything downstream sees them.
3. decode(encode(x)) == x for every record type; golden bytes of every version ever written are kept, and an event of
   an old version is decoded as what it would be today (`upcasts`).
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Union, cast

import msgspec

from sdk.contract.events import EVENT_TYPES, Event, subject_of
from sdk.contract.heartbeats import Heartbeat
from sdk.contract.orders import NodeOrders, Orders, PoolOrders
from sdk.contract.requests import REQUEST_TYPES, Request
from sdk.contract.upcasts import UPCASTS, upcast

#: Largest record read. Source: Kafka's default `max.message.bytes`, 1 MiB and a little.
RECORD_BYTES_MAX = 1 << 20


class DecodeError(ValueError):
    """A record that is not one of ours; the text says why."""


class Envelope(msgspec.Struct, frozen=True):
    """A CloudEvents 1.0 document; `data` stays undecoded until the type is known."""

    id: str
    type: str
    source: str
    subject: str
    #: RFC 3339, the writer's clock, only ever shown.
    time: str
    data: msgspec.Raw
    #: Id of the request, event or record that this one follows from; empty if none.
    causeid: str = ""
    specversion: str = "1.0"
    datacontenttype: str = "application/json"


class Recorded(msgspec.Struct, frozen=True):
    """An event as it stands on the log: its envelope's id and cause, and what it says."""

    id: str
    type: str
    cause: str
    #: Who wrote it, for people.
    writer: str
    event: Event


class Asked(msgspec.Struct, frozen=True):
    """A request as it stands on the requests topic."""

    id: str
    request: Request


_encode = msgspec.json.Encoder().encode
_decode_envelope = msgspec.json.Decoder(Envelope).decode
#: One pass over a whole event: an envelope per type, told apart by `type`. What it does not take is looked at again in
#: two steps, which say what is wrong with it.
_decode_whole: Callable[[bytes], Any] = msgspec.json.Decoder(
    Union[  # noqa: UP007  # made of what the table lists
        tuple(
            msgspec.defstruct(
                f"Whole{kind.__name__}",
                [
                    ("id", str),
                    ("source", str),
                    ("subject", str),
                    ("time", str),
                    ("data", kind),
                    ("causeid", str, ""),
                    ("specversion", str, "1.0"),
                    ("datacontenttype", str, "application/json"),
                ],
                tag_field="type",
                tag=name,
                frozen=True,
                gc=False,
            )
            for name, (kind, _) in EVENT_TYPES.items()
        )
    ]
).decode
_decode_fields = msgspec.json.Decoder(dict[str, Any]).decode
#: `decode_heartbeat` for who reads a million and looks at the length, and at what is wrong, itself.
read_heartbeat: Callable[[bytes], Heartbeat] = msgspec.json.Decoder(Heartbeat).decode
_EVENT_DECODERS = {name: msgspec.json.Decoder(kind).decode for name, (kind, _) in EVENT_TYPES.items()}
_EVENT_NAMES = {kind: name for name, (kind, _) in EVENT_TYPES.items()}
_REQUEST_DECODERS = {name: msgspec.json.Decoder(kind).decode for name, kind in REQUEST_TYPES.items()}
_REQUEST_NAMES = {kind: name for name, kind in REQUEST_TYPES.items()}
_decode_node_orders = msgspec.json.Decoder(NodeOrders).decode
_decode_pool_orders = msgspec.json.Decoder(PoolOrders).decode

_FAULTS = (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError, OverflowError)
#: What it raises for something that is none of ours, and what comes of a record without a value.
HEARTBEAT_FAULTS = (*_FAULTS, DecodeError, TypeError)


def rfc3339(at_ms: int) -> str:
    """`at_ms` (ms UTC) as RFC 3339 with milliseconds."""
    stamp = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{stamp.isoformat()[:19]}.{at_ms % 1000:03d}Z"


def encode_event(event: Event, *, event_id: str, cause: str, writer: str, at_ms: int) -> bytes:
    """The event as a CloudEvents document; `at_ms` is the writer's clock, only ever shown."""
    return _encode(
        Envelope(
            id=event_id,
            type=_EVENT_NAMES[type(event)],
            source=writer,
            subject=subject_of(event),
            time=rfc3339(at_ms),
            data=msgspec.Raw(_encode(event)),
            causeid=cause,
        )
    )


def decode_event(value: bytes | None) -> Recorded:
    """The event in a record of the log.

    Raises:
        DecodeError: it is not one of ours.
    """
    if value is not None and len(value) <= RECORD_BYTES_MAX:
        try:
            whole = _decode_whole(value)
        except _FAULTS:
            pass
        else:
            return Recorded(whole.id, _EVENT_NAMES[type(whole.data)], whole.causeid, whole.source, whole.data)
    envelope, event = _open(value, _EVENT_DECODERS, what="event")
    return Recorded(envelope.id, envelope.type, envelope.causeid, envelope.source, cast("Event", event))


def encode_request(request: Request, *, request_id: str, asker: str, at_ms: int) -> bytes:
    """The request as a CloudEvents document."""
    return _encode(
        Envelope(
            id=request_id,
            type=_REQUEST_NAMES[type(request)],
            source=asker,
            subject=request_id,
            time=rfc3339(at_ms),
            data=msgspec.Raw(_encode(request)),
        )
    )


def decode_request(value: bytes | None) -> Asked:
    """The request in a record of the requests topic.

    Raises:
        DecodeError: it is not one of ours.
    """
    envelope, request = _open(value, _REQUEST_DECODERS, what="request")
    return Asked(envelope.id, cast("Request", request))


def encode_heartbeat(record: Heartbeat) -> bytes:
    """A beat, tick, hello or report as a compact array."""
    return _encode(record)


def decode_heartbeat(value: bytes | None) -> Heartbeat:
    """What a record of the heartbeats topic says.

    Raises:
        DecodeError: it is not one of ours.
    """
    if value is None:
        raise DecodeError("heartbeat without a value")
    if len(value) > RECORD_BYTES_MAX:
        raise DecodeError(f"heartbeat of {len(value)} bytes, at most {RECORD_BYTES_MAX}")
    try:
        record: Heartbeat = read_heartbeat(value)
    except _FAULTS as error:
        raise DecodeError(f"heartbeat: {error}") from None
    return record


def encode_orders(orders: Orders) -> bytes:
    """Orders as one JSON document."""
    return _encode(orders)


def decode_orders(key: str, value: bytes | None) -> Orders:
    """The orders under `key`, which says whether they are a node's or a pool's.

    Raises:
        DecodeError: they are not ours.
    """
    if value is None:
        raise DecodeError("orders without a value")
    if len(value) > RECORD_BYTES_MAX:
        raise DecodeError(f"orders of {len(value)} bytes, at most {RECORD_BYTES_MAX}")
    try:
        orders = _decode_pool_orders(value) if key.startswith("pool-") else _decode_node_orders(value)
    except _FAULTS as error:
        raise DecodeError(f"orders: {error}") from None
    if orders.reporter != key:
        raise DecodeError(f"orders of {orders.reporter!r:.80} under the key {key!r:.80}")
    return orders


def event_name(event: Event) -> str:
    """The stable type name of an event."""
    return _EVENT_NAMES[type(event)]


def _step_up(envelope: Envelope) -> Envelope:
    """The document that would be written today."""
    try:
        fields = _decode_fields(envelope.data)
    except _FAULTS as error:
        raise DecodeError(f"{envelope.type}: {error}") from None
    type_, fields = upcast(envelope.type, fields)
    return msgspec.structs.replace(envelope, type=type_, data=msgspec.Raw(_encode(fields)))


def _open(value: bytes | None, decoders: dict[str, Any], *, what: str) -> tuple[Envelope, msgspec.Struct]:
    """Envelope and data of a CloudEvents document, or DecodeError."""
    if value is None:
        raise DecodeError(f"{what} without a value")
    if len(value) > RECORD_BYTES_MAX:
        raise DecodeError(f"{what} of {len(value)} bytes, at most {RECORD_BYTES_MAX}")
    try:
        envelope = _decode_envelope(value)
    except _FAULTS as error:
        raise DecodeError(f"{what}: {error}") from None
    if envelope.type in UPCASTS:
        envelope = _step_up(envelope)
    decode = decoders.get(envelope.type)
    if decode is None:
        raise DecodeError(f"{what} of unknown type {envelope.type!r:.80}")
    try:
        return envelope, decode(envelope.data)
    except _FAULTS as error:
        raise DecodeError(f"{envelope.type}: {error}") from None
