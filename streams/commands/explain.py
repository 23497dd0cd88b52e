"""`cli.py explain`: the certificate of one event. Shell."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.shared import (
    HelpfulCommand,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
)
from streams.commands.travelling import file_option, travel
from streams.render import clock, stamp, table, to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.settings import Settings
    from streams.travel.heartbeats import Heartbeats
    from streams.travel.logs import TravelLog

_COLOURS = {"proven": "green", "failed": "red"}


@click.command(cls=HelpfulCommand)
@click.argument("which", metavar="OFFSET|ID")
@file_option
@output_option("table", "json")
@platform_options
def explain(
    which: str, path: Path | None, output: str, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Print the certificate of a fact, decision or restart: what it rests on, and whether that holds.

    For a silence: the last beat, the clock from there to the record that decided, gaps that were cut. For a decision:
    the term, the policy and the brake as they were, the events it followed from, and for a placement the nodes with
    their scores.

    \b
    Examples:
      python cli.py explain 1234
      python cli.py explain 9f86d081884c7d659a2feaa0c55ad015 -o json
      python cli.py explain 81 --file night.jsonl.zst
    """
    found = run(_explain(settings_of(bootstrap_servers, prefix), path, which))
    click.echo(to_json(found) if output == "json" else "\n".join(_text(found)))


async def _explain(settings: Settings, path: Path | None, which: str) -> dict[str, Any]:
    from streams.travel.explaining import explain_event, find_event

    async with travel(settings, path) as (log, archive), heard(settings, path, log) as heartbeats:
        with progress_bar("reading the log") as bar:
            entry = await find_event(log, which, bar)
            return await explain_event(log, archive, heartbeats, entry, bar)


@contextlib.asynccontextmanager
async def heard(settings: Settings, path: Path | None, log: TravelLog) -> AsyncIterator[Heartbeats]:
    """The heartbeats of the platform, or those that a file holds beside its log."""
    from streams.travel.file_heartbeats import open_file
    from streams.travel.heartbeats import open_heartbeats

    if path is not None:
        yield await open_file(path, log)
        return
    async with open_heartbeats(settings) as heartbeats:
        yield heartbeats


def _text(found: dict[str, Any]) -> list[str]:
    head = f"{found['offset']}  {stamp(found['append_ms'])}"
    if "garbage" in found:
        return [f"{head}  no event of ours: {found['garbage']}"]
    lines = [
        f"{head}  {click.style(found['event'], bold=True)}  {found['says']}",
        f"  written by {found['written_by']}" + (f", caused by {found['cause']}" if found["cause"] else ""),
    ]
    if "term" in found:
        lines += _decision_lines(found)
    if "clock" in found:
        lines += _clock_lines(found["clock"], found["policy"])
    lines += [f"  says so: {_heartbeat(each)}" for each in found.get("heartbeats", ())]
    if "placement" in found:
        lines += _placement_lines(found["placement"])
    verdict, text = found["certificate"], found["certificate_text"]
    return [
        *lines,
        "  " + click.style(verdict, fg=_COLOURS.get(verdict, "yellow")) + (f": {text}" if text else ""),
    ]


def _decision_lines(found: dict[str, Any]) -> list[str]:
    term, brake, policy, fence = found["term"], found["brake"], found["policy"], found["fence"]
    state = "off" if brake["engaged_by"] is None else f"on since event {brake['engaged_by']}"
    counted = f"{brake['overdue']} of {brake['nodes']} overdue, " if brake["nodes"] else ""
    share = f"{counted}{brake['band']}"
    lines = [
        f"  decided in term {term['offset']} by {term['writer']}, from the state at {found['based_on']}",
        f"  {_policy(policy)}",
        f"  the brake was {state} ({share})",
    ]
    if fence is not None:
        lines.append(f"  confirmed by the watcher at heartbeat {fence['partition']}/{fence['offset']}")
    if found["rests_on"]:
        lines.append("  rests on")
        lines += [
            f"    {each['offset']:>6}  {clock(each['append_ms'])}  {each['event']:<24}{each['then']}"
            for each in found["rests_on"]
        ]
    return lines


def _clock_lines(at: dict[str, Any], policy: dict[str, Any]) -> list[str]:
    lines = [
        f"  last beat:  {_heartbeat(at['last_beat'])}",
        f"  decided by: {_heartbeat(at['decided_by'])}",
        f"  silent for {at['silent_ms']} ms, limit {at['limit_ms']} ms, postponed by {at['postponed_ms']} ms",
    ]
    if "passed_ms" in at:
        lines.append(
            f"  derived again: {at['passed_ms']} ms of clock in {at['wall_ms']} ms and {at['records']} records"
        )
        lines += [
            f"    gap of {cut['gap_ms']} ms before offset {cut['offset']} counted as {cut['counted_ms']} ms"
            for cut in at["cut"]
        ]
    return [*lines, f"  {_policy(policy)}"]


def _heartbeat(at: dict[str, Any]) -> str:
    where = f"{at['partition']}/{at['offset']}"
    if not at["retained"]:
        return f"heartbeat {where}, not retained any more"
    return f"{at['kind']} at heartbeat {where}, {stamp(at['append_ms'])}"


def _policy(policy: dict[str, Any]) -> str:
    whose = "built-in policy" if policy["offset"] < 0 else f"policy of event {policy['offset']}"
    return f"{whose}: " + ", ".join(f"{key} {value}" for key, value in policy.items() if key != "offset")


def _placement_lines(found: dict[str, Any]) -> list[str]:
    rows = []
    for each in found["nodes"]:
        score = each["score"]
        cells = (
            [str(score.get(key, 0)) for key in ("failed", "copies", "distance", "cost")]
            if score
            else ["-"] * 4
        )
        rows.append([each["node"], ", ".join(each["fell_out"]) or "fits", *cells])
    text = table(["node", "verdict", "failed", "copies", "distance", "cost"], rows)
    lines = [f"    {line}" for line in text.splitlines()]
    return [*lines, *(f"  DIFFERS: {each}" for each in found["differences"])]
