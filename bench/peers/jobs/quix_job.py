"""Counts beats per source in windows of 10 s with Quix Streams: runs in the environment that `setup` made for it.

Arguments: count|keep|restore, bootstrap, topic, name, folder, records. Of each record the key and the first bytes of
the value are looked at; nothing is decoded. Lines on standard output say how far it is.
"""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application
from quixstreams.state.recovery import RecoveryManager

WINDOW_MS = 10_000


def say(mark: str) -> None:
    """Tell the bench how far it is."""
    sys.stdout.write(f"{mark}\n")
    sys.stdout.flush()


class Progress:
    """How many beats came."""

    def __init__(self, app: Application, records: int, *, stops: bool) -> None:
        self._app = app
        self._records = records
        self._stops = stops
        self._done = 0

    def is_beat(self, value: bytes) -> bool:
        """Whether a record is a beat that counts."""
        if not value.startswith(b'["b"'):
            return False
        if not self._done:
            say("first")
        self._done += 1
        return self._done <= self._records

    def counted(self, _: Any) -> None:
        """A beat is in its window."""
        if self._done == self._records:
            say("last")
            if self._stops:
                self._app.stop()


def mark_recovery() -> None:
    """Tell when Quix Streams begins to read its changelog and when it has it."""
    recover = RecoveryManager.do_recovery

    def marked(manager: RecoveryManager) -> None:
        rows = sum(it.changelog_highwater for stores in manager.partitions.values() for it in stores.values())
        say("first")
        recover(manager)
        say(f"last {rows}")

    RecoveryManager.do_recovery = marked


def main() -> None:
    """Run until killed, or until all is kept."""
    mode, bootstrap, topic, name, folder, records = sys.argv[1:]
    app = Application(
        broker_address=bootstrap,
        consumer_group=name,
        auto_offset_reset="earliest",
        state_dir=folder,
        # The group forgets soon who was killed; a restart waits for that.
        consumer_extra_config={"session.timeout.ms": 6000},
        loglevel="WARNING",
    )
    beats = app.topic(topic, key_deserializer="bytes", value_deserializer="bytes")
    progress = Progress(app, int(records), stops=mode == "keep")
    frame = app.dataframe(beats)
    frame = frame.filter(progress.is_beat).tumbling_window(WINDOW_MS).count().current()
    frame.update(progress.counted)
    if mode == "restore":
        mark_recovery()
    app.run()
    say("kept")


if __name__ == "__main__":
    main()
