"""The writer of the Faust tables leaves what Faust's producer has no room for in the handover."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from streams.core.handover import Handover
from streams.faust_fixes import LoopGuard
from streams.processors import BUFFERED_MAX, SLICE, ViewWriter
from tables.views import ViewKey


class _Faust:
    """A table whose writes wait in the producer's buffer until they are sent."""

    def __init__(self) -> None:
        self.buffer: list[tuple[bytes, bytes | None]] = []
        self.most = 0
        self.sent: dict[bytes, bytes | None] = {}
        self.records = 0
        self.producer = SimpleNamespace(buffer=self)

    @property
    def size(self) -> int:
        return len(self.buffer)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._put(key, value)

    def pop(self, key: bytes, _default: None) -> None:
        self._put(key, None)

    def _put(self, key: bytes, value: bytes | None) -> None:
        self.buffer.append((key, value))
        self.most = max(self.most, len(self.buffer))

    def send(self, count: int) -> None:
        sent, self.buffer = self.buffer[:count], self.buffer[count:]
        self.records += len(sent)
        self.sent.update(sent)


def _writer(faust: _Faust) -> tuple[ViewWriter, Handover]:
    handover = Handover()
    guard = LoopGuard(stand_still_max_s=10.0, armed=handover.is_owner)
    return ViewWriter(cast("Any", faust), {"apps": faust}, handover, guard), handover


def _rows(numbers: range, version: int) -> dict[ViewKey, bytes | None]:
    return {ViewKey("apps", f"application-{number}"): b"%d" % version for number in numbers}


def test_rows_are_written_at_once_while_the_producer_has_room() -> None:
    """Several slices fit: nothing is held back."""
    faust = _Faust()
    writer, handover = _writer(faust)
    handover.offer(_rows(range(3 * SLICE + 1), 1), folded=1)

    asyncio.run(writer.write())

    assert (faust.size, handover.waiting()) == (3 * SLICE + 1, 0)


def test_nothing_is_written_while_the_producer_is_full() -> None:
    """What waits is written over by its newer version, so a flood costs one record of each row."""
    faust = _Faust()
    writer, handover = _writer(faust)
    handover.offer(_rows(range(2 * BUFFERED_MAX), 1), folded=1)
    asyncio.run(writer.write())

    for version in range(2, 20):
        handover.offer(_rows(range(BUFFERED_MAX, 2 * BUFFERED_MAX), version), folded=version)
        asyncio.run(writer.write())

    assert (faust.size, handover.waiting()) == (BUFFERED_MAX, BUFFERED_MAX)
    faust.send(BUFFERED_MAX)
    asyncio.run(writer.write())
    faust.send(BUFFERED_MAX)
    assert faust.records == 2 * BUFFERED_MAX
    assert {faust.sent[b"application-%d" % number] for number in range(BUFFERED_MAX, 2 * BUFFERED_MAX)} == {
        b"19"
    }


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 2 * BUFFERED_MAX),
            st.integers(0, BUFFERED_MAX),
            st.integers(0, BUFFERED_MAX),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_the_newest_version_of_each_row_arrives_whatever_the_producer_does(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    """Offers, writes and sends in any order: never more than the bound waits, and what stands at the end is newest."""
    faust = _Faust()
    writer, handover = _writer(faust)
    wanted: dict[bytes, bytes | None] = {}
    for version, (first, count, sent, gone) in enumerate(steps, start=1):
        rows = _rows(range(first, first + count), version)
        if gone:
            rows = dict.fromkeys(rows)
        wanted.update({view.key.encode(): value for view, value in rows.items()})
        handover.offer(rows, folded=version)
        asyncio.run(writer.write())
        faust.send(sent)

    while handover.waiting() or faust.size:
        asyncio.run(writer.write())
        faust.send(BUFFERED_MAX)

    assert faust.most <= BUFFERED_MAX
    assert faust.sent == wanted
