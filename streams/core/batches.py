"""Batches of records as Kafka keeps them, from aiokafka's reader, without an object of its own for each record. Shell.

aiokafka makes a `ConsumerRecord` of eleven fields of each record, which is half of what its `getmany` costs; a watch
wants the offset and the value. Its parser in C gives those. `read_batches` makes `getmany` of one reader answer with
batches: connections, fetching, positions, seeking and errors stay aiokafka's. What is used of its inside is
`Fetcher._records`, `FetchResult` and `PartitionRecords`; tests/streams/test_batches.py says when they change.
"""

from collections import OrderedDict
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException


def read_batches(reader: AIOKafkaConsumer) -> None:
    """Let `getmany` of a reader give batches for records: one whose positions have just been sought, so it holds none.

    Each can be gone through once and has records with offset, timestamp and value; the first may begin with
    records before the position. `max_records` counts batches.
    """
    reader._fetcher._records = _Fetched()  # noqa: SLF001  # see above


def append_ms_of(batch: Any) -> int | None:
    """The append time that all records of a batch have; None where each has a time of its own."""
    return int(batch.max_timestamp) if batch.timestamp_type else None


def as_record(at: TopicPartition, record: Any) -> ConsumerRecord:
    """A record of a batch as `getmany` gives it otherwise."""
    return ConsumerRecord(
        at.topic,
        at.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        record.key,
        record.value,
        record.checksum,
        -1 if record.key is None else len(record.key),
        -1 if record.value is None else len(record.value),
        tuple(record.headers),
    )


class _Fetched(OrderedDict[TopicPartition, Any]):
    """What was fetched of each partition; its records are not taken out of their batches."""

    def __setitem__(self, at: TopicPartition, result: Any) -> None:
        if type(result) is FetchResult:
            result._partition_records = _Batches(result._partition_records)  # noqa: SLF001  # see above
        super().__setitem__(at, result)


class _Batches:
    """Batch after batch of what was fetched of a partition, for `PartitionRecords`."""

    def __init__(self, records: Any) -> None:
        self._at = records._tp  # noqa: SLF001  # see above
        self._records = records._records  # noqa: SLF001  # see above
        self._check_crcs = records._check_crcs  # noqa: SLF001  # see above
        self.next_fetch_offset = records.next_fetch_offset

    def __iter__(self) -> "_Batches":
        return self

    def __next__(self) -> Any:
        while self._records.has_next():
            batch = self._records.next_batch()
            if self._check_crcs and not batch.validate_crc():
                # What was taken since the position was last noted is read again.
                raise CorruptRecordException(f"Invalid CRC - {self._at}")
            self.next_fetch_offset = batch.next_offset
            if not batch.is_control_batch:
                return batch
        raise StopIteration
