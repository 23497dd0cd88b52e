"""Counts beats per source in windows of 10 s with Bytewax: runs in the environment that `setup` made for it.

Arguments: count, bootstrap, topic, name, folder, records. It has no RocksDB, so its state is in memory only. Of each
record the key and the first bytes of the value are looked at; nothing is decoded. Lines on standard output say how
far it is.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing as win
from bytewax.testing import TestingSink, cluster_main

WINDOW = timedelta(seconds=10)


def say(mark: str) -> None:
    """Tell the bench how far it is."""
    sys.stdout.write(f"{mark}\n")
    sys.stdout.flush()


class Progress:
    """How many beats came."""

    def __init__(self, records: int) -> None:
        self._records = records
        self._done = 0

    def is_beat(self, message: Any) -> bool:
        """Whether a record is a beat that counts."""
        if not message.value.startswith(b'["b"'):
            return False
        if not self._done:
            say("first")
        self._done += 1
        if self._done == self._records:
            say("last")
        return self._done <= self._records


def at(message: Any) -> datetime:
    """The time that the broker gave a record."""
    return datetime.fromtimestamp(message.timestamp[1] / 1000, UTC)


def main() -> None:
    """Run until killed."""
    _, bootstrap, topic, _, _, records = sys.argv[1:]
    flow = Dataflow("count")
    read = op.input("read", flow, KafkaSource([bootstrap], [topic]))
    beats = op.filter("beats", read, Progress(int(records)).is_beat)
    clock = win.EventClock(at, wait_for_system_duration=timedelta(0))
    windower = win.TumblingWindower(length=WINDOW, align_to=datetime(2026, 1, 1, tzinfo=UTC))
    counts = win.count_window("count", beats, clock, windower, lambda message: message.key.decode())
    op.output("out", counts.down, TestingSink([]))
    cluster_main(flow, [], 0)


if __name__ == "__main__":
    main()
