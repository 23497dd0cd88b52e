"""Frames on the connection of `apps exec`: one byte of kind, four of length, then the content. Pure.

After `POST /exec` was answered with 101, the client says `START` and then, at any time, `STDIN`, `STDIN_END`,
`SIGNAL` and, of a command with a terminal, `RESIZE` (rows, a blank, columns); the agent answers with `STDOUT`, `STDERR`
and `TAKEN` (so many bytes of stdin have gone on to the command), and ends with `EXIT` or `FAILED`. A terminal has one
output, `STDOUT`, and interrupts and ends are bytes of stdin.
"""

import struct
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import msgspec

START = b"S"
STDIN = b"I"
STDIN_END = b"E"
SIGNAL = b"K"
RESIZE = b"W"
STDOUT = b"O"
STDERR = b"R"
TAKEN = b"T"
EXIT = b"X"
FAILED = b"F"

#: What the connection is upgraded to.
PROTOCOL = "watchkeep-exec"
#: Largest content; a start is a command line of at most this.
FRAME_BYTES_MAX = 64 << 10
#: So much of stdin may be under way before the agent has said `TAKEN`: it keeps that much for a command that does not
#: read, and still hears a signal.
STDIN_WINDOW = 256 << 10

#: Rows and columns of a terminal. Source: 16 bits each in the kernel's own record.
SIZE_MAX = 0xFFFF

_HEAD = struct.Struct("!cI")


class Terminal(msgspec.Struct, frozen=True):
    """The terminal that a command is to have."""

    #: In characters; 0 where nobody knows.
    rows: Annotated[int, msgspec.Meta(ge=0, le=SIZE_MAX)] = 0
    columns: Annotated[int, msgspec.Meta(ge=0, le=SIZE_MAX)] = 0
    #: As `TERM` has it.
    kind: str = ""


class Start(msgspec.Struct, frozen=True):
    """What is to be run, and where."""

    app: str
    command: list[str]
    #: 0: as long as the agent lets anything run.
    timeout_ms: int = 0
    #: None: it has pipes.
    terminal: Terminal | None = None


class Exit(msgspec.Struct, frozen=True):
    """How the command ended."""

    #: Minus the signal that ended it.
    code: int
    why: Literal["ended", "timeout"] = "ended"


class FrameError(ValueError):
    """What came is no frame."""


def encode_frame(kind: bytes, content: bytes = b"") -> bytes:
    """The bytes of one frame; content of more than `FRAME_BYTES_MAX` bytes is a fault of the caller."""
    assert len(content) <= FRAME_BYTES_MAX
    return _HEAD.pack(kind, len(content)) + content


def encode_size(rows: int, columns: int) -> bytes:
    """The content of `RESIZE`."""
    return f"{min(rows, SIZE_MAX)} {min(columns, SIZE_MAX)}".encode()


def decode_size(content: bytes) -> tuple[int, int]:
    """Rows and columns.

    Raises:
        FrameError: it is no size.
    """
    words = content.split(b" ")
    if len(words) != 2 or not all(word.isdigit() and int(word[:6]) <= SIZE_MAX for word in words):  # noqa: PLR2004
        raise FrameError(f"no size of a terminal: {content!r:.40}")
    return int(words[0]), int(words[1])


async def read_frame(read_exactly: Callable[[int], Awaitable[bytes]]) -> tuple[bytes, bytes]:
    """Kind and content of the next frame, from whatever gives so many bytes.

    Raises:
        FrameError: it is too large.
        EOFError: the other side has closed.
    """
    kind, length = _HEAD.unpack(await read_exactly(_HEAD.size))
    if length > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {length} bytes; allowed: up to {FRAME_BYTES_MAX}")
    return kind, await read_exactly(length)
