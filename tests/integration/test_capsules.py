"""An incident of a real platform: saved, replayed, and gone on from in the simulator, with nothing written to Kafka."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import main
from sdk.contract.codec import Recorded
from streams.local.rig import Rig
from streams.local.rig_children import kill_marked
from streams.travel import saving
from streams.travel.capsules import read_capsule
from tests.capsules.record import APPS, kill_agent
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def night(create_rig: CreateRig) -> tuple[Rig, int]:
    """A platform whose node was killed, and that ended after that; the event."""
    rig = create_rig("night")
    rig.start(workers=1, nodes=2, slots=4)
    rig.run_apps(APPS)
    # On a quick machine all of it is over in less than the second that one of the tests saves.
    rig.wait_time(1.5)
    at = kill_agent(rig)
    for minded in rig.minded:
        minded.forsake()
    assert not kill_marked(rig.mark)
    return rig, at


def call(rig: Rig, *args: str) -> Result:
    """Run the command line on the rig's log."""
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    env = {"WATCHKEEP_DATA_DIR": str(rig.folder)}
    return CliRunner().invoke(main, [*args, *where], prog_name="cli.py", env=env)


def test_saved_incident_replays_without_kafka(night: tuple[Rig, int], tmp_path: Path) -> None:
    """Every fact of the real log is found again, by offset and by id, and the file is all that it takes."""
    rig, at = night
    path = tmp_path / "night.capsule"
    result = call(rig, "capsule", "save", "--around", str(at), str(path))
    assert result.exit_code == 0, result.output
    held = read_capsule(path)
    assert held.event == at
    assert not held.course.missed
    assert not held.course.unwritten
    assert {"NodeExited", "AppStarted"} <= {fact.kind for fact in held.course.found}
    replayed = CliRunner().invoke(main, ["capsule", "replay", str(path), "-o", "json"], prog_name="cli.py")
    assert replayed.exit_code == 0, replayed.output
    document = json.loads(replayed.output)
    assert document["difference"] is None
    written = [seen.offset for seen in rig.events() if held.start <= seen.offset < held.end]
    assert [each["offset"] for each in document["timeline"]] == written


def test_long_log_is_kept_from_a_snapshot_on(
    night: tuple[Rig, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows before the stretch stand in the place of the events before it; an id names an event as well."""
    rig, at = night
    monkeypatch.setattr(saving, "FROM_BEGINNING_MAX", -1)
    path = tmp_path / "night.capsule"
    said = rig.events(at)[0].said
    assert isinstance(said, Recorded)
    result = call(rig, "capsule", "save", "--around", said.id, "--before", "1s", str(path))
    assert result.exit_code == 0, result.output
    held = read_capsule(path)
    assert held.rows
    assert held.events[0].offset == held.start > 0
    assert not held.course.missed
    replayed = CliRunner().invoke(main, ["capsule", "replay", str(path)], prog_name="cli.py")
    assert replayed.exit_code == 0, replayed.output


def test_event_that_is_not_there_is_one_sentence(night: tuple[Rig, int], tmp_path: Path) -> None:
    """Exit code 3, and no file."""
    path = tmp_path / "night.capsule"
    result = call(night[0], "capsule", "save", "--around", "999999", str(path))
    assert result.exit_code == 3
    assert "There is no event 999999" in result.output
    assert not path.exists()


def test_fork_writes_nothing(night: tuple[Rig, int]) -> None:
    """After a fork from before the incident every topic of the platform ends where it ended, and none is new."""
    rig, at = night
    before = topic_ends(rig)
    assert before[f"{rig.prefix}.events.v1"] > at
    result = call(rig, "fork", "--at", str(at - 1), "--inject", "kill application-1", "-o", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    assert document["offset"] == at - 1
    assert document["apps"][0]["app"] == "application-1"
    assert document["missing"] == []
    assert topic_ends(rig) == before


def topic_ends(rig: Rig) -> dict[str, int]:
    """How many records each topic of the platform has had."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=rig.bootstrap)
    try:
        topics = sorted(topic for topic in consumer.topics() if topic.startswith(rig.prefix))
        places = [
            TopicPartition(topic, number)
            for topic in topics
            for number in consumer.partitions_for_topic(topic) or ()
        ]
        ends = consumer.end_offsets(places)
    finally:
        consumer.close()
    found = dict.fromkeys(topics, 0)
    for place, end in ends.items():
        found[place.topic] += end
    return found
