"""Topics, their settings and the partition function."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.contract.topics import VIEW_TABLES, WIDE_PARTITIONS, Topics, partition_of, topic_specs


@pytest.mark.parametrize(
    ("key", "partition"),
    [("", 0), ("pool-home", 0), ("node-10.0.0.1_8101", 4), ("service-übung", 1)],
)
def test_partition_never_changes(key: str, partition: int) -> None:
    """The partition of a key is the same for ever, on every machine."""
    assert partition_of(key) == partition


@given(key=st.text(max_size=30), partitions=st.integers(1, 64))
def test_partition_is_one_of_the_topic(key: str, partitions: int) -> None:
    """Every key has a partition that exists."""
    assert 0 <= partition_of(key, partitions=partitions) < partitions


def test_every_topic_is_specified_once() -> None:
    """The admin step creates each topic that a name exists for, and none twice."""
    topics = Topics("wk")
    names = [spec.name for spec in topic_specs("wk")]
    expected = [topics.events, topics.heartbeats, topics.commands, topics.requests, topics.dead_letters]
    expected.append(topics.notifications)
    assert names == expected + [topics.state(table) for table in VIEW_TABLES]


def test_log_has_one_partition_and_is_kept_for_ever() -> None:
    """The events topic has one partition, append time, and loses nothing."""
    log = topic_specs("wk")[0]
    assert (log.name, log.partitions) == ("wk.events.v1", 1)
    assert log.config["message.timestamp.type"] == "LogAppendTime"
    assert log.config["retention.ms"] == log.config["retention.bytes"] == "-1"
    assert log.config["cleanup.policy"] == "delete"


def test_heartbeats_carry_append_time() -> None:
    """The heartbeats topic is wide, carries the broker's time and is kept for a day."""
    beats = topic_specs("wk")[1]
    assert (beats.name, beats.partitions) == ("wk.heartbeats.v1", WIDE_PARTITIONS)
    assert beats.config["message.timestamp.type"] == "LogAppendTime"
    assert beats.config["retention.ms"] == "86400000"


def test_compacted_topics_bound_their_open_segment() -> None:
    """Every compacted topic rolls its segments, because an open one is never compacted."""
    compacted = [spec for spec in topic_specs("wk") if spec.config["cleanup.policy"] == "compact"]
    assert {spec.name for spec in compacted} == {"wk.commands.v1", *map(Topics("wk").state, VIEW_TABLES)}
    assert all(spec.config["segment.bytes"] == "16777216" for spec in compacted)
    assert all(spec.config["segment.ms"] == "600000" for spec in compacted)
