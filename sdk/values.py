"""Values as devices write them: JSON, and the Python literals that older devices write. Pure.

    decode_value(b'21.5')           # 21.5
    decode_value(b"{'t': 21}")      # {'t': 21}

Nothing is ever evaluated. What is larger than 64 KiB or nested deeper than 32 is refused before it is parsed.
"""

import ast
from typing import Any

import msgspec

#: Longest value accepted. Source: a sixteenth of Kafka's default record limit, and a reading is a number or a few.
VALUE_BYTES_MAX = 64 << 10
#: Deepest nesting accepted: far more than a reading has, far less than any parser minds.
DEPTH_MAX = 32

_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "\"'"

_decode_json = msgspec.json.Decoder().decode


class ValueRefusedError(ValueError):
    """A record is no value; the text says why."""


def decode_value(raw: bytes | None) -> Any:
    """The value in a record: what JSON or a Python literal can say (numbers, text, lists, mappings, true, none).

    Raises:
        ValueRefusedError: empty, too large, too deep, or neither JSON nor a literal.
    """
    if raw is None:
        raise ValueRefusedError("the record is empty")
    if len(raw) > VALUE_BYTES_MAX:
        raise ValueRefusedError(f"{len(raw)} bytes; allowed: at most {VALUE_BYTES_MAX}")
    text = raw.decode(errors="replace")
    if _depth(text) > DEPTH_MAX:
        raise ValueRefusedError(f"nested deeper than {DEPTH_MAX}")
    try:
        return _decode_json(raw)
    except msgspec.DecodeError:
        pass
    except (UnicodeDecodeError, RecursionError):
        raise ValueRefusedError(f"{text!r:.60} is neither JSON nor a Python literal") from None
    try:
        # Reads constants only; chains of signs are the one thing that its bounds above do not bound.
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueRefusedError(f"{text!r:.60} is neither JSON nor a Python literal") from None


def _depth(text: str) -> int:
    """How deep brackets nest, and signs in a row, outside of quoted text."""
    depth = deepest = signs = 0
    quote, escaped = "", False
    for letter in text:
        if quote:
            if escaped:
                escaped = False
            elif letter == "\\":
                escaped = True
            elif letter == quote:
                quote = ""
            continue
        signs = signs + 1 if letter in "+-~" else signs if letter.isspace() else 0
        if letter in _QUOTES:
            quote = letter
        elif letter in _OPENING:
            depth += 1
        elif letter in _CLOSING:
            depth -= 1
        deepest = max(deepest, depth, signs)
    return deepest
