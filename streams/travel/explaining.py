"""The certificate of one event: what it rests on, looked up in the records that it cites. Shell.

The clock of a silence is shown by the same `PartitionWatch` that judged it, led over the cited heartbeats once more;
the placement's scores come from `tables.hindsight`. Whether all of it holds is for the checker to say, which shares
neither.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sdk.contract import events as e
from sdk.contract.codec import DecodeError, Recorded, decode_heartbeat
from sdk.contract.events import subject_of
from sdk.contract.heartbeats import Heartbeat
from sdk.contract.policy import Policy
from streams.commands import NOT_FOUND, CommandError
from streams.log_source import Entry, ProgressCallback, no_progress
from streams.render_events import event_words, short_type
from streams.travel.archive import Archive
from streams.travel.checker import Checker, Finding
from streams.travel.heartbeats import Heartbeats
from streams.travel.logs import TravelLog
from streams.travel.proving import judge
from streams.travel.timelines import read_timeline
from tables.hindsight import differences, judge_nodes
from tables.silence import PartitionWatch
from tables.state import State

#: Events about the same thing that are shown before a decision: a restart and what led to it.
_BEFORE = 6
#: The parts of the policy that bear on a kind of event.
_DETECTION = ("silence_limit_ms", "clock_step_max_ms", "settling_ms", "settling_in_all_ms")
_RECOVERY = ("destroy_silent_nodes", "on_node_failure", "strategy", "app_backoff_ms", "app_give_up_after")


async def find_event(log: TravelLog, which: str, progress: ProgressCallback = no_progress) -> Entry:
    """The record with an offset or an id.

    Raises:
        CommandError: there is none.
    """
    start, end = (int(which), int(which) + 1) if which.isdecimal() else (0, log.end)
    async for batch in log.batches(start, min(end, log.end), progress):
        for entry in batch:
            if which.isdecimal() or (isinstance(entry.said, Recorded) and entry.said.id == which):
                return entry
    raise CommandError(f"There is no event {which} on the log.", NOT_FOUND)


async def explain_event(
    log: TravelLog,
    archive: Archive,
    heartbeats: Heartbeats,
    entry: Entry,
    progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """The certificate of one record as a document."""
    if isinstance(entry.said, DecodeError):
        return {"offset": entry.offset, "append_ms": entry.append_ms, "garbage": str(entry.said)}
    event: Any = entry.said.event
    decides = hasattr(event, "based_on")
    state = await archive.state_at(event.based_on + 1 if decides else entry.offset, progress)
    found: dict[str, Any] = {
        "offset": entry.offset,
        "append_ms": entry.append_ms,
        "id": entry.said.id,
        "event": short_type(entry.said.type),
        "says": event_words(event),
        "written_by": entry.said.writer,
        "cause": entry.said.cause,
    }
    certificate = await _check(log, heartbeats, entry)
    if decides:
        found |= _decision(state, event)
        found["rests_on"] = await _before(log, archive, event, progress)
    if isinstance(event, e.AppPlaced | e.AppPrepared):
        found["placement"] = await _placement(log, state, event, entry.offset)
    if isinstance(event, e.SourceFellSilent):
        found["policy"] = _policy(state, _DETECTION)
        found["clock"] = _clock(event, heartbeats, state.policy)
    positions = [getattr(event, "position", None)]
    if isinstance(event, e.SourceReturned):
        positions = [e.Position(event.partition, event.offset)]
    cited = [_heartbeat(heartbeats, at.partition, at.offset) for at in positions if at is not None]
    if cited:
        found["heartbeats"] = cited
    return found | {"certificate": certificate.verdict, "certificate_text": certificate.text}


async def _check(log: TravelLog, heartbeats: Heartbeats, entry: Entry) -> Finding:
    """What the independent checker says of it; what it cites is in `heartbeats` afterwards."""
    checker = Checker(heartbeats.topic_id)
    async for batch in log.batches(0, entry.offset + 1):
        for each in batch:
            if each.offset < entry.offset:
                checker.check(each.offset, each.append_ms, each.raw, {})
    return await judge(checker, heartbeats, entry)


def _decision(state: State, event: Any) -> dict[str, Any]:
    """What every decision was made under."""
    term, brake = state.term, state.brake
    fence = event.fence
    return {
        "term": {"offset": term.term, "writer": term.writer, "in_force": term.term == event.term},
        "based_on": event.based_on,
        "policy": _policy(state, _RECOVERY),
        "fence": None if fence is None else {"partition": fence.partition, "offset": fence.offset},
        "brake": {
            "band": brake.band,
            "overdue": brake.overdue,
            "nodes": brake.nodes,
            "engaged_by": brake.engaged if brake.engaged >= 0 else None,
            "allowance": brake.allowance,
        },
    }


def _policy(state: State, keys: tuple[str, ...]) -> dict[str, Any]:
    return {"offset": state.policy_row.offset, **{key: getattr(state.policy, key) for key in keys}}


async def _before(
    log: TravelLog, archive: Archive, event: Any, progress: ProgressCallback
) -> list[dict[str, Any]]:
    """The last events about what the decision is about, as of when it was made."""
    subjects = {subject_of(event), getattr(event, "node", ""), getattr(event, "app", "")} - {"", "platform"}
    found: dict[int, dict[str, Any]] = {}
    for subject in sorted(subjects):
        timeline = await read_timeline(
            log, archive, subject, start=0, end=event.based_on + 1, progress=progress
        )
        for moment in timeline.moments[-_BEFORE:]:
            said = moment.entry.said
            if isinstance(said, Recorded):
                found[moment.entry.offset] = {
                    "offset": moment.entry.offset,
                    "append_ms": moment.entry.append_ms,
                    "event": short_type(said.type),
                    "says": event_words(said.event),
                    "then": f"{subject} {moment.status}",
                }
    return [found[offset] for offset in sorted(found)]


async def _placement(
    log: TravelLog, state: State, event: e.AppPlaced | e.AppPrepared, offset: int
) -> dict[str, Any]:
    """The nodes as they stood, scored again."""
    before: list[e.Decision] = []
    async for batch in log.batches(event.based_on + 1, offset):
        for entry in batch:
            said = None if isinstance(entry.said, DecodeError) else entry.said.event
            if isinstance(said, e.Decision) and (said.term, said.based_on) == (event.term, event.based_on):
                before.append(said)
    judged = judge_nodes(state, before, event)
    nodes = [
        {
            "node": each.node,
            "free": each.free._asdict(),
            "fell_out": each.fell_out,
            "score": None if each.score is None else msgspec.to_builtins(each.score),
        }
        for each in judged
    ]
    return {"nodes": nodes, "differences": differences(judged, event)}


def _clock(event: e.SourceFellSilent, heartbeats: Heartbeats, policy: Policy) -> dict[str, Any]:
    """The log clock between the last beat and the record that decided, with the gaps that were cut."""
    found: dict[str, Any] = {
        "partition": event.partition,
        "limit_ms": event.limit_ms,
        "silent_ms": event.silent_ms,
        "postponed_ms": event.postponed_ms,
        "last_beat": _heartbeat(heartbeats, event.partition, max(event.from_offset, 0)),
        "decided_by": _heartbeat(heartbeats, event.partition, event.until_offset),
    }
    begin = max(event.from_offset, 0)
    held = heartbeats.beats.get(event.partition, {})
    if event.kind == "app" or not all(at in held for at in range(begin, event.until_offset + 1)):
        return found
    watch = PartitionWatch(event.partition, begin=begin)
    cuts: list[dict[str, int]] = []
    for offset in range(begin, event.until_offset + 1):
        append_ms, value = held[offset]
        before_ms, before_cut = watch.append_ms, watch.cut_ms
        watch.apply(offset, append_ms, _decoded(value), policy)
        if watch.cut_ms != before_cut and before_ms is not None:
            gap_ms, counted_ms = append_ms - before_ms, policy.clock_step_max_ms
            cuts.append({"offset": offset, "gap_ms": gap_ms, "counted_ms": counted_ms})
    return found | {
        "passed_ms": watch.clock_ms,
        "wall_ms": held[event.until_offset][0] - held[begin][0],
        "records": event.until_offset - begin,
        "cut": cuts,
    }


def _heartbeat(heartbeats: Heartbeats, partition: int, offset: int) -> dict[str, Any]:
    """A heartbeat that something rests on, if it is retained."""
    where = {"partition": partition, "offset": offset}
    held = heartbeats.beats.get(partition, {}).get(offset)
    if held is None:
        return where | {"retained": False}
    record = _decoded(held[1])
    kind = "garbage" if record is None else type(record).__name__
    says = None if record is None else _words(record)
    return where | {"retained": True, "append_ms": held[0], "kind": kind, "says": says}


def _decoded(value: bytes | None) -> Heartbeat | None:
    try:
        return decode_heartbeat(value)
    except DecodeError:
        return None


def _words(record: Heartbeat) -> dict[str, Any]:
    """The fields of a heartbeat by their names."""
    return {name: msgspec.to_builtins(getattr(record, name)) for name in record.__struct_fields__}
