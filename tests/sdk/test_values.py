"""Values of devices: JSON and literals are read, everything else is refused, and nothing is run."""

import ast
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.values import DEPTH_MAX, VALUE_BYTES_MAX, ValueRefusedError, decode_value

_PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    _PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)


@given(VALUES)
def test_json_comes_back(value: Any) -> None:
    """What a device writes as JSON is what an app reads."""
    assert decode_value(json.dumps(value).encode()) == value


@given(VALUES)
def test_python_literals_come_back(value: Any) -> None:
    """What an older device writes with `str` is what an app reads."""
    text = repr(value)
    try:
        expected = json.loads(text)
    except ValueError:
        expected = ast.literal_eval(text)
    assert decode_value(text.encode()) == expected


@given(st.binary(max_size=200))
def test_anything_else_is_refused_and_nothing_else_happens(raw: bytes) -> None:
    """Garbage raises the one error that says so."""
    with contextlib.suppress(ValueRefusedError):
        decode_value(raw)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, "the record is empty"),
        (b"", "neither JSON nor a Python literal"),
        (b"__import__('os').getcwd()", "neither JSON nor a Python literal"),
        (b"[" * 33 + b"]" * 33, "nested deeper than 32"),
        (b"[" * 30_000, "nested deeper than 32"),
        (b"-" * 60_000 + b"1", "nested deeper than 32"),
        (b"- " * 30_000 + b"1", "nested deeper than 32"),
        (b"'" + b"[" * 100, "neither JSON nor a Python literal"),
        (
            b'"' + b"x" * VALUE_BYTES_MAX + b'"',
            f"{VALUE_BYTES_MAX + 2} bytes; allowed: at most {VALUE_BYTES_MAX}",
        ),
        (b"\xff\xfe", "neither JSON nor a Python literal"),
        (b"1+1", "neither JSON nor a Python literal"),
    ],
)
def test_what_is_refused(raw: bytes | None, said: str) -> None:
    """The reason is one sentence."""
    with pytest.raises(ValueRefusedError, match=r"^.{0,200}$") as caught:
        decode_value(raw)
    assert said in str(caught.value)


def test_brackets_in_text_do_not_count() -> None:
    """Only real nesting is bounded."""
    assert decode_value(b'"' + b"[" * 1_000 + b'"') == "[" * 1_000
    assert decode_value(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
