"""What the ssh provider and the caretaker on a host say to each other: one JSON object a line. Shell of the agents."""

from typing import Literal, TypeVar

import msgspec

from agents.state import Found
from sdk.contract.orders import NodeOrder

T = TypeVar("T")

#: Of the caretaker's first line, which lists all nodes of the host; some 200 bytes each.
LINE_BYTES_MAX = 4 << 20


class Call(msgspec.Struct, frozen=True):
    """Something that the caretaker shall do."""

    number: int
    what: Literal["create", "stop", "destroy", "forget", "tidy"]
    order: int = 0
    wish: NodeOrder | None = None


class Began(msgspec.Struct, frozen=True, tag=True):
    """The caretaker's first words: what it found on its host."""

    found: list[Found]


class Reply(msgspec.Struct, frozen=True, tag=True):
    """How a call went."""

    number: int
    node: str = ""
    pid: int = 0
    #: Whether the end of that order's node will still be told.
    is_living: bool = False
    #: Why it could not be done; empty: it was.
    error: str = ""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A node is gone, with all that was left of it."""

    order: int
    exit_code: int | None
    reason: str


class Answered(msgspec.Struct, frozen=True, tag=True):
    """A node's agent answers."""

    order: int


class Restarted(msgspec.Struct, frozen=True, tag=True):
    """A node's agent was started again in its place."""

    order: int
    node: str
    pid: int


Said = Began | Reply | Ended | Answered | Restarted


_said: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)


def decode_said(line: bytes) -> Said:
    """What a caretaker says after its first words.

    Raises:
        msgspec.DecodeError: it is none of its words.
    """
    return _said.decode(line)


def encode_line(word: msgspec.Struct) -> bytes:
    """The word as a line."""
    return msgspec.json.encode(word) + b"\n"


def decode_line(line: bytes, kind: type[T]) -> T:
    """The word of a line.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return msgspec.json.decode(line, type=kind)
