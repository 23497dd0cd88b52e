"""Records on the topics of controllers: bytes that stay readable, and what is refused."""

import msgspec
import pytest

from sdk.contract.codec import DecodeError
from sdk.contract.controllers import (
    VALUE_BYTES_MAX,
    Desired,
    Reported,
    check_value,
    decode_desired,
    decode_reported,
    encode_desired,
    encode_reported,
)

DESIRED = Desired("c1", msgspec.Raw(b'{"on":true}'), "log-1", 41, "application-a", 12)
REPORTED = Reported("c1", "done", msgspec.Raw(b"[1,2]"), "", "log-1", 41)


def test_records_are_read_as_they_were_written_and_their_bytes_do_not_change() -> None:
    """Devices of other makers read and write them."""
    assert encode_desired(DESIRED) == (
        b'{"command":"c1","value":{"on":true},"log":"log-1","as_of":41,"app":"application-a","generation":12}'
    )
    assert encode_reported(REPORTED) == (
        b'{"command":"c1","outcome":"done","value":[1,2],"log":"log-1","as_of":41}'
    )
    assert decode_desired(encode_desired(DESIRED)) == DESIRED
    assert decode_reported(encode_reported(REPORTED)) == REPORTED
    # The least that a device must say.
    assert decode_reported(b'{"command":"c1","outcome":"rejected"}') == Reported("c1", "rejected")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b'{"command":"c1"}',
        b'{"command":"c1","outcome":"perhaps"}',
        b'{"command":"c1","outcome":"done","value":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"command":"c1","outcome":"done","value":"' + b"x" * VALUE_BYTES_MAX + b'"}',
        b'{"command":"c1","outcome":"done","value":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b"x" * (2 * VALUE_BYTES_MAX),
    ],
)
def test_garbage_is_no_report(raw: bytes | None) -> None:
    """Whatever it is, it is refused with a reason and nothing else is raised."""
    with pytest.raises(DecodeError, match="reported"):
        decode_reported(raw)


@pytest.mark.parametrize("value", ["", "on", "{", "NaN", "1 2", '"\ud800"', "[" * 5_000])
def test_what_is_no_json_is_no_value(value: str) -> None:
    """A device would not know what to do with it."""
    with pytest.raises(ValueError, match="value"):
        check_value(value)
