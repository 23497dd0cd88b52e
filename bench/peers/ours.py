"""Watchkeep's own job: `python -m bench.peers.ours` with its order on standard input.

The heartbeat plane of one worker as `bench.fleets.watching` runs it: reader, ticker, watcher, facts, outbox and disk.
It says `first` before it reads, and `last N` once N beats are read, every source's session is compared with the log
and all of it stands in its checkpoint. Then it goes on until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from bench.fleets import watching
from bench.fleets.watching import Watching
from streams.core.core import SWITCH_S

#: How often it is looked whether all is done, s: more would be felt in what is measured.
_LOOK_EVERY_S: Final = 0.02
_TOPIC_ID: Final = "fleet"


class Order(msgspec.Struct, frozen=True):
    """What to do."""

    fleet: watching.Order
    records: int
    #: For a restore: it is done when the last record was read and its partitions are known to their ends.
    is_restore: bool = False


class Ours(Watching):
    """One run, measured by whoever reads standard output."""

    def __init__(self, order: Order, folder: Path) -> None:
        super().__init__(order.fleet, folder)
        self._wanted = order.records
        self._is_restore = order.is_restore

    async def _look(self) -> None:
        watches = self._watcher.watches
        if not self._is_restore:
            say("first")
        while not watches:
            # Known as soon as it is, where reading begins; before the first record is asked for.
            await asyncio.sleep(0.001)
        if self._is_restore:
            say("first")
        while not self._is_done():
            await asyncio.sleep(_LOOK_EVERY_S)
        if not self._is_restore:
            self._snapshots.save(self._state, set(), watches.values(), [], topic_id=_TOPIC_ID)
        say(f"last {self._rows()}")
        if self._found:
            raise RuntimeError(f"{len(self._found)} facts about sources that beat")
        await asyncio.Event().wait()

    async def _probe(self) -> None:
        # What the loop is held by is the matter of bench.fleet.
        await asyncio.Event().wait()

    def _read(self) -> int:
        return sum(watch.next_offset - watch.begin for watch in self._watcher.watches.values())

    def _rows(self) -> int:
        return sum(len(watch.sessions) for watch in self._watcher.watches.values())

    def _is_done(self) -> bool:
        if self._read() < self._wanted:
            return False
        return self._is_restore or not any(watch.heard for watch in self._watcher.watches.values())


def say(mark: str) -> None:
    """Tell the bench how far it is."""
    sys.stdout.write(f"{mark}\n")
    sys.stdout.flush()


def main() -> None:
    """Obey the order in the first line on standard input."""
    sys.setswitchinterval(SWITCH_S)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    with tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder:
        asyncio.run(Ours(order, Path(folder)).run())


if __name__ == "__main__":
    main()
