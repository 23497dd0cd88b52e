"""Counts beats per source in windows of 10 s with plain Faust: runs in the environment that `setup` made for it.

Arguments: count|keep|restore, bootstrap, topic, name, folder, records. Of each record the key and the first bytes of
the value are looked at; nothing is decoded. Lines on standard output say how far it is.
"""

from __future__ import annotations

import sys
from typing import Any

import faust

WINDOW_S = 10.0
#: Windows are kept for the run.
KEPT_S = 3_600.0
PARTITIONS = 8


def say(mark: str) -> None:
    """Tell the bench how far it is."""
    # Faust takes the other name for its log.
    out = sys.__stdout__
    assert out is not None
    out.write(f"{mark}\n")
    out.flush()


def create_app(mode: str, bootstrap: str, topic: str, name: str, folder: str, records: int) -> faust.App:
    """The job."""
    app = faust.App(
        name,
        broker=f"kafka://{bootstrap}",
        store="rocksdb://",
        datadir=folder,
        topic_partitions=PARTITIONS,
        # The group forgets soon who was killed; a restart waits for that.
        broker_session_timeout=6,
        broker_heartbeat_interval=2,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        autodiscover=False,
        web_enabled=False,
    )
    beats = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    counts = app.Table("counts", default=int).tumbling(WINDOW_S, expires=KEPT_S)

    async def count(stream: Any) -> None:
        done = 0
        async for event in stream.events():
            if not event.value.startswith(b'["b"'):
                continue
            if not done:
                say("first")
            # Faust writes the key of a window as JSON, which knows no bytes.
            counts[event.key.decode()] += 1
            done += 1
            if done == records:
                say("last")
                if mode == "keep":
                    await app.producer.flush()
                    say("kept")

    app.agent(beats)(count)
    if mode == "restore":
        mark_recovery(app)
    return app


def mark_recovery(app: Any) -> None:
    """Tell when Faust begins to read its changelog and when it has it."""
    recovery = app.tables.recovery
    begin, end = recovery._set_recovery_started, recovery.on_recovery_completed  # noqa: SLF001

    def started() -> None:
        say("first")
        begin()

    async def completed(generation_id: int = 0) -> None:
        rows = sum(offset + 1 for offset in recovery.active_offsets.values())
        say(f"last {rows}")
        await end(generation_id)

    recovery._set_recovery_started = started  # noqa: SLF001
    recovery.on_recovery_completed = completed


def main() -> None:
    """Run until killed."""
    mode, bootstrap, topic, name, folder, records = sys.argv[1:]
    app = create_app(mode, bootstrap, topic, name, folder, int(records))
    faust.Worker(app, loglevel="WARN").execute_from_commandline()


if __name__ == "__main__":
    main()
