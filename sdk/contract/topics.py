"""Topic names, their settings and the partition function. Pure; DESIGN of each topic in docs/architecture.md.

The partition of every record is computed here and passed explicitly, so that all clients agree. Partition
counts never change under one prefix.
"""

import re
from typing import Final
from zlib import crc32

import msgspec

#: Partitions of `heartbeats` and `commands`: enough to spread a million sources over several watchers, few
#: enough that ticks (4 a second each) cost nothing.
WIDE_PARTITIONS: Final = 8

_DAY_MS: Final = 86_400_000

#: "compact" alone bounds nothing: the open segment (1 GiB, 7 days by default) is never compacted.
_COMPACT: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 << 20),
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": "600000",
    "delete.retention.ms": str(7 * _DAY_MS),
}


#: Settings of a controller's topic: like orders, the newest of each key is what counts.
CONTROLLER_CONFIG: Final[dict[str, str]] = dict(_COMPACT)
#: Of the topic of a sensor: a day of readings.
SENSOR_CONFIG: Final = {"cleanup.policy": "delete", "retention.ms": str(_DAY_MS)}


class TopicSpec(msgspec.Struct, frozen=True):
    """What a topic must be."""

    name: str
    partitions: int
    #: Kafka topic settings that are ours to decide; others stay the broker's.
    config: dict[str, str]


class Topics(msgspec.Struct, frozen=True):
    """The names of all topics under one prefix."""

    prefix: str

    @property
    def events(self) -> str:
        """The log: one partition, append time, kept for ever."""
        return f"{self.prefix}.events.v1"

    @property
    def heartbeats(self) -> str:
        """Beats, reports, hellos and ticks."""
        return f"{self.prefix}.heartbeats.v1"

    @property
    def commands(self) -> str:
        """Orders, one compacted record per node or pool."""
        return f"{self.prefix}.commands.v1"

    @property
    def requests(self) -> str:
        """What people and programs want."""
        return f"{self.prefix}.requests.v1"

    @property
    def notifications(self) -> str:
        """What apps tell people, as the SDK writes it."""
        return f"{self.prefix}.notifications.v1"

    @property
    def dead_letters(self) -> str:
        """Records that could not be used, with the reason."""
        return f"{self.prefix}.dead-letters.v1"

    def state(self, table: str) -> str:
        """State topic of a Faust table: Faust names changelogs `<app id>-<table>-changelog`."""
        return f"{self.prefix}-{table}-changelog"


#: The Faust tables; each has one compacted state topic.
VIEW_TABLES: Final = ("nodes", "apps", "monitoring", "notifications", "platform")


def topic_specs(prefix: str) -> list[TopicSpec]:
    """Every topic the platform needs, with its settings."""
    topics = Topics(prefix)
    append_time = {"message.timestamp.type": "LogAppendTime"}
    week = {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS)}
    beats = {
        "cleanup.policy": "delete",
        "retention.ms": str(_DAY_MS),
        "segment.ms": "600000",
        **append_time,
    }
    forever = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", **append_time}
    return [
        TopicSpec(topics.events, 1, forever),
        TopicSpec(topics.heartbeats, WIDE_PARTITIONS, beats),
        TopicSpec(topics.commands, WIDE_PARTITIONS, dict(_COMPACT)),
        TopicSpec(topics.requests, 1, dict(week)),
        TopicSpec(topics.dead_letters, 1, dict(week)),
        TopicSpec(topics.notifications, 1, {**week, **append_time}),
        *(TopicSpec(topics.state(table), 1, dict(_COMPACT)) for table in VIEW_TABLES),
    ]


#: What Kafka takes as the name of a topic.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
#: Topics of a platform under any prefix: beats read from there would be answered by more records there, for ever.
_OURS = re.compile(
    r".*\.(events|heartbeats|commands|requests|notifications|dead-letters)\.v\d+|.*-("
    + "|".join(VIEW_TABLES)
    + r")-changelog|__.*"
)


def check_beats_topic(name: str, *, what: str = "beats") -> str:
    """`name`, if it can be the topic that a client of the original kind beats into.

    Raises:
        ValueError: Kafka has no topic of that name, or it is one of the platform's own; says what is allowed.
    """
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError(
            f"{what}: {name!r:.80} is no name of a topic; allowed: 1 to 249 of letters, digits, '.', '_' and '-'"
        )
    if _OURS.fullmatch(name):
        raise ValueError(
            f"{what}: {name} is a topic of the platform itself or of Kafka; name the service's own"
        )
    return name


def partition_of(key: str, *, partitions: int = WIDE_PARTITIONS) -> int:
    """Partition of a reporter, node or pool id: CRC-32 of its UTF-8 bytes modulo the count."""
    return crc32(key.encode()) % partitions
