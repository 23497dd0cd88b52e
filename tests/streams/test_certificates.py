"""`verify certificates`: honest nights are proven, a record that was tampered with is named, and `explain` shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract import events as e
from sdk.contract.codec import Recorded, decode_heartbeat, encode_event, encode_heartbeat
from sdk.contract.heartbeats import Beat, Tick
from streams.log_source import Entry, entry_of
from streams.travel.archive import Archive
from streams.travel.explaining import explain_event, find_event
from streams.travel.heartbeats import HeldHeartbeats
from streams.travel.proving import Proof, verify_certificates
from tests.streams.past import MemoryLog
from tests.streams.recorded import Recording, record_seed

run = asyncio.run
#: Some with sensors, with original clients, with steps of the broker's clock, with lost acknowledgements.
SEEDS = (1, 17, 4, 11, 20, 21, 25, 51, 74)
recorded = cache(record_seed)


def _prove(night: Recording, *, start: int = 0) -> Proof:
    return run(verify_certificates(night.log, night.heartbeats, start=start, end=night.log.end))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_honest_night_is_proven(seed: int) -> None:
    """Whatever went wrong: no fact and no decision that the records do not bear out."""
    proof = _prove(recorded(seed))
    assert proof.failed == []
    assert proof.verdicts["proven"] > 20


def test_what_is_not_retained_is_recorded() -> None:
    """Facts whose heartbeats are gone are not called wrong, and not proven either."""
    night = recorded(11)
    late = {partition: dict(list(beats.items())[200:]) for partition, beats in night.heartbeats.beats.items()}

    proof = _prove(Recording(night.log, HeldHeartbeats(night.heartbeats.topic_id, late)))

    assert proof.failed == []
    before = _prove(night).verdicts
    assert proof.verdicts["recorded"] > before.get("recorded", 0)
    assert proof.verdicts["proven"] + proof.verdicts["recorded"] == before["proven"] + before.get(
        "recorded", 0
    )


@dataclass
class Forged:
    """A change to a record of one kind, and how many of these to pass over."""

    kind: type[Any]
    change: Callable[[Any], Any]
    wanted: Callable[[Any], bool] = lambda _: True


def _replace(**fields: Any) -> Callable[[Any], Any]:
    return lambda event: msgspec.structs.replace(event, **fields)


def _add(field: str, number: int) -> Callable[[Any], Any]:
    return lambda event: msgspec.structs.replace(event, **{field: getattr(event, field) + number})


FORGED = {
    "longer": Forged(e.SourceFellSilent, _add("silent_ms", 1)),
    "a beat earlier": Forged(e.SourceFellSilent, _add("from_offset", -1)),
    "decided earlier": Forged(e.SourceFellSilent, _add("until_offset", -1)),
    "decided by what never was": Forged(e.SourceFellSilent, _add("until_offset", 100_000)),
    "another limit": Forged(e.SourceFellSilent, _add("limit_ms", -1_000)),
    "settled for longer": Forged(
        e.SourceFellSilent, _add("postponed_ms", 5_000), lambda it: it.kind == "node"
    ),
    "another source": Forged(
        e.SourceFellSilent, _replace(source="node-10.0.0.9_1"), lambda it: it.kind == "node"
    ),
    "another return": Forged(e.SourceReturned, _add("offset", -1)),
    "another claim": Forged(e.NodeRegistered, _replace(claim="claim-of-nobody")),
    "more slots": Forged(e.NodeRegistered, _add("slots", 1)),
    "an end that was not": Forged(e.AppExited, _add("generation", 1)),
    "a start that was not": Forged(e.AppStarted, _add("generation", 1)),
    "an end that the provider did not see": Forged(e.NodeExited, _add("order", 1)),
    "a death without a silence": Forged(
        e.NodeDeclaredDown, _replace(registration=1), lambda it: it.reason == "silent"
    ),
    "another policy": Forged(e.AppPlaced, _add("policy", 1)),
    "a node that never was": Forged(e.AppPlaced, _replace(node="node-10.0.0.9_1")),
    "another order of nodes": Forged(
        e.AppPlaced,
        lambda it: msgspec.structs.replace(it, ranking=it.ranking[::-1]),
        lambda it: len(it.ranking) > 1,
    ),
    "a timer that nobody set": Forged(e.TimerFired, _add("set_at", 100_000)),
    "an app that nobody submitted": Forged(e.AppLeftPending, _replace(app="application-nobody")),
    "a pool that nobody configured": Forged(e.NodeOrdered, _replace(pool="pool-nobody")),
}


def _is_steady(night: Recording, entry: Entry) -> bool:
    """Whether a silence was judged by one policy: of one under which the rules changed the checker says less."""
    event = getattr(entry.said, "event", None)
    if not isinstance(event, e.SourceFellSilent):
        return True
    since_ms = night.heartbeats.beats[event.partition][max(event.from_offset, 0)][0]
    said = ((it.append_ms, getattr(it.said, "event", None)) for it in night.log.entries[: entry.offset])
    return not any(since_ms <= at_ms and isinstance(it, e.PolicyChanged) for at_ms, it in said)


def _find(forged: Forged) -> tuple[Recording, Entry, Any]:
    """A record of that kind that is proven as it stands, if need be in a night beyond those that are proven here."""
    for seed in chain(SEEDS, range(100, 200)):
        night = recorded(seed)
        for entry in night.log.entries:
            event = getattr(entry.said, "event", None)
            if isinstance(event, forged.kind) and forged.wanted(event) and _is_steady(night, entry):
                return night, entry, event
    raise AssertionError(f"no {forged.kind.__name__} in these nights")


def _with(night: Recording, entry: Entry, event: e.Event) -> Recording:
    said = entry.said
    assert isinstance(said, Recorded)
    raw = encode_event(event, event_id=said.id, cause=said.cause, writer=said.writer, at_ms=entry.append_ms)
    other = entry_of(entry.offset, entry.append_ms, raw)
    return Recording(MemoryLog([other if it is entry else it for it in night.log.entries]), night.heartbeats)


@pytest.mark.parametrize("name", FORGED)
def test_one_event_that_was_tampered_with_is_named(name: str) -> None:
    """By its offset, and first."""
    forged = FORGED[name]
    night, entry, event = _find(forged)

    proof = _prove(_with(night, entry, forged.change(event)))

    assert proof.failed[0].offset == entry.offset


@pytest.mark.parametrize(
    "kind", [e.NodeRegistered, e.AppStarted, e.AppExited, e.SourceReturned, e.NodeExited]
)
def test_one_heartbeat_that_was_tampered_with_is_found(kind: type[Any]) -> None:
    """The fact that cites it fails."""
    night, entry, event = _find(Forged(kind, lambda it: it))
    at = event if isinstance(event, e.SourceReturned) else event.position
    beats = {partition: dict(held) for partition, held in night.heartbeats.beats.items()}
    beats[at.partition][at.offset] = beats[at.partition][at.offset][0], b"[]"

    proof = _prove(Recording(night.log, HeldHeartbeats(night.heartbeats.topic_id, beats)))

    assert entry.offset in [found.offset for found in proof.failed]


def test_a_beat_in_the_middle_of_a_silence_is_found() -> None:
    """A silence is refuted by any beat in it, and by append times that do not add up to it."""
    night, entry, event = _find(Forged(e.SourceFellSilent, lambda it: it, lambda it: it.kind == "node"))
    held = night.heartbeats.beats[event.partition]
    middle = (event.from_offset + event.until_offset) // 2
    for forged in (
        {middle: (held[middle][0], held[event.from_offset][1])},
        {at: (held[at][0] - 5_000, held[at][1]) for at in range(middle, event.until_offset + 1)},
    ):
        beats = {**night.heartbeats.beats, event.partition: {**held, **forged}}
        proof = _prove(Recording(night.log, HeldHeartbeats(night.heartbeats.topic_id, beats)))
        assert entry.offset in [found.offset for found in proof.failed]


def _verdict(night: Recording, entry: Entry) -> str:
    """What the checker says of one record."""
    proof = run(verify_certificates(night.log, night.heartbeats, start=entry.offset, end=entry.offset + 1))
    return next(iter(proof.verdicts))


#: Facts that one heartbeat says.
_SAID = (e.NodeRegistered, e.ProvisionerRegistered, e.AppStarted, e.AppExited, e.NodeExited, e.SourceReturned)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_cited_heartbeat_that_was_exchanged_is_found(data: st.DataObject) -> None:
    """Whatever fact of a night, and whatever stands where it points to: by another record it is not proven."""
    night = recorded(data.draw(st.sampled_from(SEEDS)))
    facts = [entry for entry in night.log.entries if isinstance(getattr(entry.said, "event", None), _SAID)]
    entry = data.draw(st.sampled_from(facts))
    event = getattr(entry.said, "event", None)
    at = event if isinstance(event, e.SourceReturned) else event.position  # type: ignore[union-attr]
    held = night.heartbeats.beats[at.partition]
    reporter = getattr(decode_heartbeat(held[at.offset][1]), "reporter", "")
    other = data.draw(st.sampled_from(sorted(held)))
    name = getattr(decode_heartbeat(held[other][1]), "reporter", "nobody") if held[other][1] else "nobody"
    # Another report of the same agent may say the same.
    value = b"[]" if name == reporter or isinstance(event, e.SourceReturned) else held[other][1]
    beats = {
        **night.heartbeats.beats,
        at.partition: {**held, at.offset: (held[at.offset][0], value)},
    }
    honest = _verdict(night, entry)

    forged = _verdict(Recording(night.log, HeldHeartbeats(night.heartbeats.topic_id, beats)), entry)

    # A fact before the first that names its topic is only recorded.
    assert (honest, forged) in (("proven", "failed"), ("recorded", "recorded"))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_silence_is_refuted_by_a_beat_or_less_time(data: st.DataObject) -> None:
    """A beat anywhere in it, or append times a tenth as far apart: it fails, by its offset."""
    night = recorded(data.draw(st.sampled_from(SEEDS)))
    silences = [
        entry
        for entry in night.log.entries
        if isinstance(event := getattr(entry.said, "event", None), e.SourceFellSilent)
        and event.kind in ("node", "pool", "lone")
        and _is_steady(night, entry)
    ]
    if not silences:
        return
    entry = data.draw(st.sampled_from(silences))
    event = getattr(entry.said, "event", None)
    assert isinstance(event, e.SourceFellSilent)
    held = dict(night.heartbeats.beats[event.partition])
    at = data.draw(st.integers(max(event.from_offset, 0) + 1, event.until_offset))
    if data.draw(st.booleans()):
        beat = Beat(event.source, event.epoch, 1, 0)
        held[at] = held[at][0], encode_heartbeat(beat)
    else:
        # Enough less for any slack that waiting which began later is given.
        begin = max(event.from_offset, 0)
        for later in range(begin + 1, event.until_offset + 1):
            passed_ms = max(held[later][0] - held[begin][0], 0)
            held[later] = held[begin][0] + passed_ms // 10, held[later][1]
    beats = {**night.heartbeats.beats, event.partition: held}

    proof = _prove(Recording(night.log, HeldHeartbeats(night.heartbeats.topic_id, beats)))

    assert entry.offset in [found.offset for found in proof.failed]


def test_a_silence_that_no_bridge_vouches_for_is_found() -> None:
    """What beats into a topic of its own is silent only if a worker said that it had read that topic."""
    night, entry, event = _find(
        Forged(e.SourceFellSilent, lambda it: it, lambda it: it.source.startswith("service-original"))
    )
    held = dict(night.heartbeats.beats[event.partition])
    for at in range(event.from_offset, event.until_offset + 1):
        record = decode_heartbeat(held[at][1])
        if isinstance(record, Tick):
            held[at] = held[at][0], encode_heartbeat(msgspec.structs.replace(record, bridged=0))
    beats = {**night.heartbeats.beats, event.partition: held}

    proof = _prove(Recording(night.log, HeldHeartbeats(night.heartbeats.topic_id, beats)))

    assert entry.offset in [found.offset for found in proof.failed]


def test_heartbeats_of_another_topic_prove_nothing() -> None:
    """A log that was brought onto another cluster cites heartbeats that stayed behind: what is there is not them."""
    night = recorded(11)
    other = HeldHeartbeats("another", night.heartbeats.beats, dict.fromkeys(night.heartbeats.beats, 1))

    proof = _prove(Recording(night.log, other))

    assert proof.failed == []
    assert proof.verdicts["recorded"] > _prove(night).verdicts.get("recorded", 0)


def test_a_stretch_is_checked_with_what_came_before() -> None:
    """Only its own records are counted."""
    night = recorded(1)
    proof = _prove(night, start=night.log.end - 10)
    assert sum(proof.verdicts.values()) == 10
    assert proof.failed == []


def _explain(tmp_path: Path, night: Recording, which: str) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        archive = Archive(tmp_path, night.log)
        return await explain_event(night.log, archive, night.heartbeats, await find_event(night.log, which))

    return run(look())


def test_explain_shows_what_an_event_rests_on(tmp_path: Path) -> None:
    """A silence with its clock, a death with what it followed from, a placement with its scores."""
    night, silence, event = _find(Forged(e.SourceFellSilent, lambda it: it, lambda it: it.kind == "node"))
    assert isinstance(silence.said, Recorded)
    found = _explain(tmp_path / "a", night, silence.said.id)
    assert found["certificate"] == "proven"
    assert found["clock"]["last_beat"]["offset"] == event.from_offset
    assert found["clock"]["decided_by"]["kind"] == "Tick"
    # Waiting begins when the log is read, which may be a moment after the hello that is cited.
    assert found["clock"]["passed_ms"] >= event.silent_ms > event.limit_ms

    night, down, _ = _find(Forged(e.NodeDeclaredDown, lambda it: it, lambda it: it.reason == "silent"))
    found = _explain(tmp_path / "b", night, str(down.offset))
    assert "source.fell-silent" in [it["event"] for it in found["rests_on"]]
    assert found["brake"]["band"] in ("calm", "most", "all")

    night, placed, _ = _find(Forged(e.AppPlaced, lambda it: it, lambda it: len(it.ranking) > 1))
    found = _explain(tmp_path / "c", night, str(placed.offset))
    assert found["placement"]["differences"] == []
    assert len([node for node in found["placement"]["nodes"] if node["score"]]) > 1
