"""Judges of what the log says about original heartbeat clients, by what their topics held. Part of the simulator."""

from typing import TYPE_CHECKING

from sdk.contract import events as e
from sdk.contract.heartbeats import Beat
from tables.views import is_source_alive

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
    row, world = checks.state.sources.get(event.source), checks.world
    if row is None or not row.topic:
        return None
    decided_ms = checks.heartbeats.arrived_ms(event.partition, event.until_offset)
    if decided_ms < world.broker.late_until_ms + event.limit_ms:
        # A tick that was under way for seconds says what was so when it was sent.
        return None
    age_ms = decided_ms - world.originals.written_ms(row.topic, decided_ms - UNSEEN_MS)
    if age_ms < event.limit_ms - CLOCK_MS:
        return "no silence of who beats", f"{event} but its topic got a record {age_ms} ms before"
    original = next((each for each in world.originals.all if each.topic == row.topic), None)
    calm_ms = decided_ms - max(world.broker_disturbed_ms, original.disturbed_ms if original else 0)
    cuts = sum(at > decided_ms - HELD_UP_MS for at in world.topics_disturbed_at)
    if original is not None and original.beats and calm_ms > HELD_UP_MS and cuts <= ONE_CUT:
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
    row = checks.state.sources.get(event.source)
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
