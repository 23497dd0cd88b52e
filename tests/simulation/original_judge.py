"""Judges of what the log says about original heartbeat clients and sensors, by what their topics held.

Part of the simulator.
"""

from typing import TYPE_CHECKING

from sdk.contract import events as e
from sdk.contract.devices import device_topic
from sdk.contract.heartbeats import Beat
from tables.device_rows import DeviceRow
from tables.state import is_source_alive
from tests.simulation.originals import TopicWriter, TopicWriters

if TYPE_CHECKING:
    from tests.simulation.checkers import Checks
    from tests.simulation.machines import Copy

#: How much longer than true time the log clock may have run: a step of the broker's clock, ms.
CLOCK_MS = 2_000
#: A record this new may not be known to a tick: what that says is up to 500 ms old, and it was on its way itself.
UNSEEN_MS = 1_500
#: Who was cut off once in so long, limit and all settling and some, had time to beat; a cut begins and ends.
HELD_UP_MS = 45_000
ONE_CUT = 2


def original_fault(checks: "Checks", event: e.SourceFellSilent) -> tuple[str, str] | None:
    """Whether a record stood in the topic of an accused service, newer than the limit, when the tick was appended."""
    row = checks.state.sources.get(event.source)
    return _accused_fault(checks, event, row.topic, checks.world.originals) if row and row.topic else None


def sensor_fault(checks: "Checks", event: e.SourceFellSilent) -> tuple[str, str] | None:
    """The same of an accused sensor."""
    row = checks.state.devices.get(event.source)
    return _accused_fault(checks, event, topic_of(row), checks.world.sensors) if row else None


def topic_of(row: DeviceRow) -> str:
    """The topic of a sensor, as the log has it."""
    return device_topic("watchkeep", row.device)


def _accused_fault(
    checks: "Checks", event: e.SourceFellSilent, topic: str, writers: TopicWriters
) -> tuple[str, str] | None:
    world = checks.world
    decided_ms = checks.heartbeats.arrived_ms(event.partition, event.until_offset)
    if decided_ms < world.broker.late_until_ms + event.limit_ms:
        # A tick that was under way for seconds says what was so when it was sent.
        return None
    age_ms = decided_ms - writers.written_ms(topic, decided_ms - UNSEEN_MS)
    if age_ms < event.limit_ms - CLOCK_MS:
        return "no silence of who beats", f"{event} but its topic got a record {age_ms} ms before"
    writer = writers.writer_of(topic)
    calm_ms = decided_ms - max(world.broker_disturbed_ms, writer.disturbed_ms if writer else 0)
    cuts = sum(at > decided_ms - HELD_UP_MS for at in world.topics_disturbed_at)
    if writer is not None and writer.beats and calm_ms > HELD_UP_MS and cuts <= ONE_CUT:
        return "no silence of who beats when it can", f"{event} but it was only cut off, {cuts} times"
    return None


def cut_off_fault(checks: "Checks", copy: "Copy") -> str:
    """Why a copy that beats into a topic must not be accused: all that held it up is one cut of the topics."""
    world = checks.world
    now_ms = world.loop.now_ms
    if not copy.topic or copy.paused or copy.hung or copy.behaviour not in ("beats", "stubborn"):
        return ""
    calm_ms = min(checks.able_ms(copy.node), now_ms - copy.disturbed_ms)
    cuts = sum(at > now_ms - HELD_UP_MS for at in world.topics_disturbed_at)
    return f"it was only cut off, {cuts} times" if calm_ms > HELD_UP_MS and cuts <= ONE_CUT else ""


def return_fault(checks: "Checks", event: e.SourceReturned) -> tuple[str, str] | None:
    """Whether a bridged return rests on records that were bridged before: then it is of yesterday."""
    state = checks.state
    row = state.devices.get(event.source) if event.kind == "sensor" else state.sources.get(event.source)
    if row is None or not event.expectation or event.expectation != row.expectation:
        return None
    records = checks.heartbeats.records(event.partition)
    now = records[event.offset].value
    for record in records[: row.seen + 1]:
        beat = record.value
        is_bridged = isinstance(beat, Beat) and beat.expectation == event.expectation
        if is_bridged and beat.source == event.source and beat.number >= now.number:
            return "no return by old records", f"{event} with {now} after {beat}"
    return None


def unfound_original(checks: "Checks", bound_ms: int) -> str:
    """The first service that is not known, after so long in peace, as what it is; empty if there is none."""
    world = checks.world
    for original in world.originals.all:
        row = checks.state.sources.get(original.name)
        if row is None or not row.topic:
            continue
        begun_ms = max(
            max(world.topics_disturbed_at, default=0),
            original.disturbed_ms,
            checks.log.true_ms(row.expectation),
        )
        beats = original.beats and row.topic == original.topic
        if world.topics_cut or world.loop.now_ms - begun_ms < bound_ms or is_source_alive(row) == beats:
            continue
        return (
            f"{original.name} {'beats' if beats else 'does not beat'} in {row.topic}, and is known as {row}"
        )
    return ""


def unfound_sensor(checks: "Checks", bound_ms: int) -> str:
    """The same for sensors that are judged."""
    world = checks.world
    for sensor in world.sensors.all:
        row = checks.state.devices.get(sensor.name)
        if row is None or not row.expectation or world.topics_cut:
            continue
        begun_ms = max(
            max(world.topics_disturbed_at, default=0),
            sensor.disturbed_ms,
            checks.log.true_ms(row.expectation),
        )
        # A beat is written once in a quarter of the limit.
        over_ms = bound_ms + row.limit_ms * 5 // 4
        if world.loop.now_ms - begun_ms > over_ms and is_misjudged(row, sensor):
            return f"{sensor.name} {'speaks' if sensor.beats else 'is silent'}, and is known as {row}"
    return ""


def is_misjudged(row: DeviceRow, sensor: TopicWriter) -> bool:
    """Whether a sensor that speaks is not known to work, or one that does not is not known to be silent."""
    speaks = sensor.beats and topic_of(row) == sensor.topic
    return row.silent or row.seen < 0 if speaks else not row.silent
