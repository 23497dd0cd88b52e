"""A log from a file onto an empty cluster, record by record, with the append times that it had. Shell.

Append times are part of the fold, and the events topic takes its own clock's. So the topic trusts the producer for as
long as the import lasts (`message.timestamp.type`), and its own clock again afterwards. Offsets must come out as they
were: every number on the log that refers to another record is one.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from sdk.contract.codec import DecodeError, decode_event
from sdk.contract.events import subject_of
from sdk.contract.topics import Topics
from streams.commands import FAILED, CommandError
from streams.log_files import read_file
from streams.log_source import Entry, ProgressCallback, away, fold_entry, no_progress, open_source
from streams.topics import KafkaAwayError, ensure_topics, open_admin
from tables.digest import digest_of
from tables.state import State

#: Records on their way at once: one batch of the producer.
_AT_ONCE = 500


async def import_log(
    bootstrap: str, prefix: str, path: Path, progress: ProgressCallback = no_progress
) -> tuple[int, str]:
    """Write the log in a file to the empty topics of `prefix`; how many records, and the hash of their fold.

    Raises:
        CommandError: no Kafka answers, the log there is not empty, or the file is not a log from its beginning.
    """
    total, expected = _check_file(path)
    try:
        faults = await asyncio.to_thread(ensure_topics, bootstrap, prefix)
    except KafkaAwayError:
        raise away(bootstrap) from None
    if faults:
        raise CommandError(f"topic {faults[0].topic} {faults[0].fault}")
    topic = Topics(prefix).events
    async with open_source(bootstrap, prefix) as source:
        if (await source.ends([(topic, 0)]))[topic, 0]:
            raise CommandError(
                f"The log {topic} on the Kafka at {bootstrap} is not empty; import into another --prefix."
            )
    await asyncio.to_thread(_trust_producer, bootstrap, topic, trusted=True)
    try:
        await _write(bootstrap, topic, path, total, progress)
    finally:
        await asyncio.to_thread(_trust_producer, bootstrap, topic, trusted=False)
    actual = await _fold(bootstrap, prefix, total)
    if actual != expected:
        raise CommandError(
            f"What was written folds to {actual[:16]}…, the file to {expected[:16]}…: "
            f"somebody else wrote to {topic}, or the file changed. Delete the topic and import again.",
            FAILED,
        )
    return total, actual


def _check_file(path: Path) -> tuple[int, str]:
    state, count = State(), 0
    for entry in read_file(path):
        if entry.offset != count:
            raise CommandError(
                f"{path}: offset {entry.offset} where {count} is due; only a whole log, from offset 0 and without "
                "gaps, can be imported."
            )
        fold_entry(state, entry)
        count += 1
    if not count:
        raise CommandError(f"{path} has no records.")
    return count, digest_of(state)


def _trust_producer(bootstrap: str, topic: str, *, trusted: bool) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType

    admin = open_admin(bootstrap)
    kind = "CreateTime" if trusted else "LogAppendTime"
    try:
        admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, {"message.timestamp.type": kind})],
            incremental=True,
        )
    finally:
        admin.close()


async def _write(bootstrap: str, topic: str, path: Path, total: int, progress: ProgressCallback) -> None:
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", linger_ms=5)
    await producer.start()
    try:
        waiting: list[Any] = []
        done = 0
        for entry in read_file(path):
            waiting.append(
                (entry.offset, await producer.send(topic, entry.raw, _key_of(entry), 0, entry.append_ms))
            )
            if len(waiting) == _AT_ONCE:
                done = await _acknowledged(waiting, topic)
                progress(done, total)
                waiting = []
        await _acknowledged(waiting, topic)
        progress(total, total)
    finally:
        await producer.stop()


async def _acknowledged(waiting: list[Any], topic: str) -> int:
    """Wait until records stand where they stood; how many stand in all."""
    last = -1
    for offset, sent in waiting:
        last = (await sent).offset
        if last != offset:
            raise CommandError(
                f"A record of offset {offset} came to stand at {last}: somebody else writes to {topic}. "
                "Stop it, delete the topic and import again."
            )
    return last + 1


def _key_of(entry: Entry) -> bytes | None:
    try:
        return subject_of(decode_event(entry.raw).event).encode()
    except DecodeError:
        return None


async def _fold(bootstrap: str, prefix: str, end: int) -> str:
    state = State()
    async with open_source(bootstrap, prefix) as source:
        async for entry in source.read_log(0, end):
            fold_entry(state, entry)
    return digest_of(state)
