"""`apps show --why`: where an app went and why, derived again from the log. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sdk.contract.codec import DecodeError
from sdk.contract.events import AppPlaced, AppPrepared, Decision, Event
from streams.commands import CommandError
from streams.commands.shared import progress_bar
from streams.log_source import fold_entry, open_source
from streams.render import table
from tables.hindsight import Judged, differences, judge_nodes
from tables.room import UNBOUNDED, Need
from tables.state import State

if TYPE_CHECKING:
    from streams.settings import Settings

#: What a number in the table means, under it.
_LEGEND = (
    "Compared from left to right, the smaller the better: failed, copies, distance, cost; then the name."
)
_STAYED = "It was to go to this node and no other was looked at: ordered to replace its dead one, or named by somebody."


class Why(NamedTuple):
    """A placement and the nodes as they stood."""

    offset: int
    placed: AppPlaced | AppPrepared
    judged: list[Judged]
    differences: list[str]


async def explain(settings: Settings, generation: int) -> Why:
    """Why the copy of this generation is where it is.

    Raises:
        CommandError: there is no such placement on the log.
    """
    state, before = State(), list[Decision]()
    with progress_bar("folding the log") as bar:
        async with open_source(settings.bootstrap, settings.prefix) as source:
            entry = await anext(source.read_log(generation, generation + 1))
            placed = None if isinstance(entry.said, DecodeError) else entry.said.event
            if not isinstance(placed, AppPlaced | AppPrepared):
                raise CommandError(f"Event {generation} is no placement.")
            async for entry in source.read_log(0, generation, bar):
                if entry.offset <= placed.based_on:
                    fold_entry(state, entry)
                elif not isinstance(entry.said, DecodeError):
                    before += _of_same_call(entry.said.event, placed)
    judged = judge_nodes(state, before, placed)
    return Why(generation, placed, judged, differences(judged, placed))


def _of_same_call(event: Event, placed: AppPlaced | AppPrepared) -> list[Decision]:
    """The event, if it is a decision of the call that made the placement."""
    if not isinstance(event, Decision):
        return []
    return [event] if (event.term, event.based_on) == (placed.term, placed.based_on) else []


def why_document(why: Why) -> dict[str, Any]:
    """The explanation for programs."""
    return {
        "placement": why.offset,
        "based_on": why.placed.based_on,
        "policy": why.placed.policy,
        "reason": _reason(why.placed),
        "fell_out": why.placed.fell_out,
        "nodes": [
            {
                "node": each.node,
                "free": each.free._asdict(),
                "fell_out": each.fell_out,
                "score": msgspec.to_builtins(each.score) if each.score is not None else None,
            }
            for each in why.judged
        ],
        "differences": why.differences,
    }


def why_text(why: Why) -> str:
    """The explanation for people."""
    placed = why.placed
    made = f"placed on {placed.node} by event {why.offset} ({_reason(placed)})"
    lines = [f"{made}, from the state at {placed.based_on} under policy {placed.policy}"]
    if not placed.ranking:
        return "\n".join([*lines, _STAYED])
    headers = ["node", "verdict", "free", "failed", "copies", "distance", "cost", "load"]
    lines += ["", table(headers, [_cells(each, placed) for each in why.judged]), "", _LEGEND]
    if placed.fell_out:
        counts = ", ".join(f"{word} {count}" for word, count in placed.fell_out.items())
        lines.append(f"Fell out then: {counts}. Whom nobody had heard, the log does not name.")
    if why.differences:
        lines.append(f"DIFFERS from what the event says: {'; '.join(why.differences)}.")
    else:
        lines.append("The scores that the event carries are those derived here.")
    return "\n".join(lines)


def _reason(placed: AppPlaced | AppPrepared) -> str:
    return placed.reason if isinstance(placed, AppPlaced) else "moved"


def _cells(each: Judged, placed: AppPlaced | AppPrepared) -> list[str]:
    if each.score is None:
        return [each.node, ", ".join(each.fell_out), _free(each.free), "-", "-", "-", "-", "-"]
    named = [score.node for score in placed.ranking]
    verdict = "chosen" if each.node == placed.node else "fits"
    if each.node in named[1:]:
        verdict = f"place {named.index(each.node) + 1}"
    score = each.score
    load = "not kept"
    if score.measured is not None:
        at = f"{score.measured.partition}:{score.measured.offset}"
        load = f"cpu {score.cpu_permille / 10:g} % memory {score.memory_permille / 10:g} % (report {at})"
    elif each.node in named:
        load = "not known"
    numbers = [str(number) for number in (score.failed, score.copies, score.distance, score.cost)]
    return [each.node, verdict, _free(each.free), *numbers, load]


def _free(free: Need) -> str:
    parts = [f"{free.slots} slots"]
    if free.cpu_percent < UNBOUNDED // 2:
        parts.append(f"{free.cpu_percent / 100:g} cores")
    if free.memory_mib < UNBOUNDED // 2:
        parts.append(f"{free.memory_mib} MiB")
    return ", ".join(parts)
