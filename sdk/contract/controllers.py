"""Commands to controllers: what is desired of one, what it reports, and what both must be. Pure.

A controller has one compacted topic. Under the key `desired` the leader writes the command in force, under `reported`
the device writes what it made of the last one that it acted on:

    {"command":"5f0c...","value":{"on":true},"log":"fJvXc1qwQmKv0qk5n1dK5w","as_of":4711,"app":"application-1", ...}
    {"command":"5f0c...","outcome":"done","value":{"on":true},"log":"fJvXc1qwQmKv0qk5n1dK5w","as_of":4711}
"""

from typing import Any, Final, Literal, cast

import msgspec

from sdk.contract.codec import DecodeError
from sdk.contract.whole import Whole

DESIRED_KEY: Final = b"desired"
REPORTED_KEY: Final = b"reported"

#: Longest value, bytes of its JSON, desired or reported. Source: the bound of sensors' values; a command says a state.
VALUE_BYTES_MAX: Final = 64 << 10
#: Deepest nesting of a value, as of sensors' values.
DEPTH_MAX: Final = 32
#: Longest reason that a device gives.
REASON_MAX: Final = 500
#: How long a command may wait for its device, ms: less than a tenth of a second no device answers in, and what is
#: wanted for longer than a day is asked for again.
FOR_MS: Final = (100, 86_400_000)
#: A command id is chosen by who asks: a UUID, or a name that an app gives to do it once whatever happens to the app.
COMMAND_LENGTH_MAX: Final = 200

#: How a device ended a command.
DeviceOutcome = Literal["done", "rejected"]

#: How the reasons of refusals begin, so that a program can tell them apart.
UNKNOWN_APP: Final = "unknown app: "
NOT_BOUND: Final = "not bound: "
NOT_YOURS: Final = "not yours: "


class Desired(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the platform wants of a controller."""

    command: str
    value: msgspec.Raw
    #: Topic id of the log that `as_of` belongs to.
    log: str
    #: Offset of the log that this was computed from; an older one never counts after a newer one of the same log.
    as_of: Whole
    #: Who wants it; empty if a person does.
    app: str = ""
    generation: Whole = 0
    #: Its time is over: a device that has not acted on it must not any more.
    withdrawn: bool = False


class Reported(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a device made of the last command that it acted on."""

    command: str
    outcome: DeviceOutcome
    value: msgspec.Raw = msgspec.Raw(b"null")
    reason: str = ""
    #: Those of the `Desired` that it acted on.
    log: str = ""
    as_of: Whole = -1


_encode = msgspec.json.Encoder().encode
_decode_desired = msgspec.json.Decoder(Desired).decode
_decode_reported = msgspec.json.Decoder(Reported).decode
_FAULTS = (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError, OverflowError)
#: Room for a value and everything beside it.
_RECORD_BYTES_MAX: Final = VALUE_BYTES_MAX + (16 << 10)


def check_value(value: str) -> None:
    """Raise ValueError, naming what is allowed, unless `value` is the JSON text of something to be desired."""
    size = len(value.encode(errors="surrogatepass"))
    if size > VALUE_BYTES_MAX:
        raise ValueError(f"value: {size} bytes of JSON; allowed: at most {VALUE_BYTES_MAX}")
    try:
        decoded = msgspec.json.decode(value.encode())
    except (*_FAULTS, UnicodeEncodeError):
        raise ValueError(f"value: {value!r:.60} is no JSON") from None
    if _is_deeper(decoded, DEPTH_MAX):
        raise ValueError(f"value: nested deeper than {DEPTH_MAX}")


def check_for_ms(for_ms: int) -> None:
    """Raise ValueError, naming what is allowed, unless a command may wait that long."""
    low, high = FOR_MS
    if not low <= for_ms <= high:
        raise ValueError(f"for_ms: {for_ms} is out of range; allowed: {low} to {high} (24 h)")


def encode_desired(desired: Desired) -> bytes:
    """The record under `desired`."""
    return _encode(desired)


def encode_reported(reported: Reported) -> bytes:
    """The record under `reported`."""
    return _encode(reported)


def decode_desired(value: bytes | None) -> Desired:
    """What stands under `desired`; raises DecodeError if it is not ours."""
    desired = cast("Desired", _open(value, _decode_desired, what="desired"))
    return msgspec.structs.replace(desired, value=_own(desired.value))


def decode_reported(value: bytes | None) -> Reported:
    """What stands under `reported`; raises DecodeError if it is not ours, or too large to go to the log."""
    reported = cast("Reported", _open(value, _decode_reported, what="reported"))
    try:
        check_value(text_of(reported.value))
    except ValueError as error:
        raise DecodeError(f"reported: {error}") from None
    return msgspec.structs.replace(reported, value=_own(reported.value))


def text_of(raw: msgspec.Raw) -> str:
    """A value that stands in a record, as JSON text."""
    return bytes(raw).decode()


def _own(raw: msgspec.Raw) -> msgspec.Raw:
    """The value without the record around it, which would be kept in memory by it."""
    return msgspec.Raw(bytes(raw))


def _open(value: bytes | None, decode: Any, *, what: str) -> object:
    if value is None:
        raise DecodeError(f"{what}: the record is empty")
    if len(value) > _RECORD_BYTES_MAX:
        raise DecodeError(f"{what} of {len(value)} bytes, at most {_RECORD_BYTES_MAX}")
    try:
        return decode(value)
    except _FAULTS as error:
        raise DecodeError(f"{what}: {error}") from None


def _is_deeper(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        inner: Any = value.values()
    elif isinstance(value, list):
        inner = value
    else:
        return False
    return depth == 0 or any(_is_deeper(each, depth - 1) for each in inner)
