"""Watchkeep's own job: `python -m bench.peers.ours` with its order on standard input. Shell.

The heartbeat plane of one worker as `bench.fleets.watching` runs it: its reader, watcher, turns and disk. It says
`first` before it reads, and `last N` once all beats are read and the sessions of N sources stand in its checkpoint.
Nobody ticks: in a topic where nobody beats any more, the clock would find everybody silent. So what is compared with
the log (of a source at rest each 128th beat) is not in what is measured; nothing that is done for each beat is left
out.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import Final

import msgspec

from bench.fleets import watching
from bench.fleets.watching import Watching
from sdk.contract.heartbeats import Tick
from streams.clients import create_writer, quieten_kafka_logs, start_clients
from streams.core.appender import Appender
from streams.core.core import SWITCH_S
from streams.core.heartbeats import Hearing
from streams.core.letters import Letters

#: How often it is looked whether all is done, s: more would be felt in what is measured.
_LOOK_EVERY_S: Final = 0.02
_TOPIC_ID: Final = "fleet"


class Order(msgspec.Struct, frozen=True):
    """What to do."""

    fleet: watching.Order
    records: int
    #: Where its RocksDB goes; whoever ordered removes it, because this process is killed.
    folder: str
    #: For a restore: it begins where reading begins, and is done when the last record was read.
    is_restore: bool = False


class Ours(Watching):
    """One run, measured by whoever reads standard output."""

    def __init__(self, order: Order, folder: Path) -> None:
        super().__init__(order.fleet, folder)
        self._wanted = order.records
        self._is_restore = order.is_restore

    async def run_until_killed(self) -> None:
        """Read, compare and keep; then wait for the end."""
        quieten_kafka_logs()
        order = self._order
        self._producer = create_writer(order.bootstrap)
        await start_clients(self._producer)
        self._wake = asyncio.Event()
        hearing = Hearing(
            bootstrap=order.bootstrap,
            topic=self._topics.heartbeats,
            watcher=self._watcher,
            snapshots=self._snapshots,
            letters=Letters(Appender(self._producer, self._topics, "worker/fleet/1"), self._topics),
            hear_tick=self._ignore_tick,
            wake=self._wake.set,
        )
        gc.collect()
        # The made-up log is no part of what is measured.
        gc.freeze()
        await asyncio.gather(hearing.run(), self._turns(), self._measure())

    async def _measure(self) -> None:
        if not self._is_restore:
            say("first")
        while not self._watcher.watches:
            # Known as soon as it is, where reading begins; before the first record is asked for.
            await asyncio.sleep(0.001)
        if self._is_restore:
            say("first")
        while self._read() < self._wanted:
            await asyncio.sleep(_LOOK_EVERY_S)
        if not self._is_restore:
            self._snapshots.save(self._state, set(), self._watcher.watches.values(), [], topic_id=_TOPIC_ID)
        say(f"last {self._rows()}")
        await asyncio.Event().wait()

    def _ignore_tick(self, partition: int, tick: Tick) -> None:
        """There is none in the topic."""

    def _read(self) -> int:
        return sum(watch.next_offset - watch.begin for watch in self._watcher.watches.values())

    def _rows(self) -> int:
        return sum(len(watch.sessions) for watch in self._watcher.watches.values())


def say(mark: str) -> None:
    """Tell the bench how far it is."""
    sys.stdout.write(f"{mark}\n")
    sys.stdout.flush()


def main() -> None:
    """Obey the order in the first line on standard input."""
    sys.setswitchinterval(SWITCH_S)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    asyncio.run(Ours(order, Path(order.folder)).run_until_killed())


if __name__ == "__main__":
    main()
