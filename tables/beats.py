"""A stretch of records through a watch, the beats of sources at rest with next to no work for each. Pure.

A beat of a lone source of whom nothing is to be said moves the time of its session and nothing else; of a million
sources nearly all are such. They are recognised here, and whatever is anything else goes through
`PartitionWatch.apply`, so there is one set of rules.
"""

from collections.abc import Iterator
from typing import Protocol

from sdk.contract.codec import (
    HEARTBEAT_FAULTS,
    RECORD_BYTES_MAX,
    DecodeError,
    decode_heartbeat,
    read_heartbeat,
)
from sdk.contract.heartbeats import Beat, Tick
from sdk.contract.policy import Policy
from tables.silence import LOOK_AGAIN, PartitionWatch


class Stored(Protocol):
    """A record as it stands in a partition."""

    @property
    def offset(self) -> int:
        """Its place."""

    @property
    def timestamp(self) -> int:
        """When it was appended, ms UTC."""

    @property
    def value(self) -> bytes | None:
        """What it says."""


def apply_stretch(
    watch: PartitionWatch, records: Iterator[Stored], append_ms: int | None, policy: Policy
) -> tuple[Stored, Tick | DecodeError] | None:
    """Apply records in the order of their offsets, up to one that somebody else must hear of, or to their end.

    `append_ms` is the append time that all of them have; None if each has its own. Returns the record after which it
    stopped, with what it is, a tick or something that could not be decoded; None if all were applied.
    """
    quiet, waiting, next_offset, clock_ms = watch.quiet.get, watch.waiting, watch.next_offset, watch.clock_ms
    # Whoever waits ahead is looked at with each record; so is the first of another append time, for it moves the clock.
    is_slow = bool(watch.ahead) or append_ms is None or append_ms != watch.append_ms
    for record in records:
        offset = record.offset
        if offset < next_offset:
            continue
        value, error = record.value, None
        try:
            heartbeat = read_heartbeat(value) if len(value) <= RECORD_BYTES_MAX else decode_heartbeat(value)  # type: ignore[arg-type]  # None is a fault
        except HEARTBEAT_FAULTS:
            heartbeat, error = None, _fault_of(value)
        if not is_slow and type(heartbeat) is Beat:
            session = quiet(heartbeat.source) or waiting(heartbeat.source)
            if (
                session is not None
                and session.epoch == heartbeat.epoch
                and heartbeat.number % LOOK_AGAIN
                and not heartbeat.expectation
            ):
                session.last_ms, session.last_offset = clock_ms, offset
                next_offset = offset + 1
                continue
        watch.next_offset = next_offset
        watch.apply(offset, record.timestamp, heartbeat, policy)
        next_offset, clock_ms = watch.next_offset, watch.clock_ms
        is_slow = bool(watch.ahead) or append_ms is None
        if error is not None:
            return record, error
        if type(heartbeat) is Tick:
            return record, heartbeat
    watch.next_offset = next_offset
    return None


def _fault_of(value: bytes | None) -> DecodeError:
    try:
        decode_heartbeat(value)
    except DecodeError as error:
        return error
    raise AssertionError("what could not be decoded was decoded")
