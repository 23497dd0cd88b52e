"""`cli.py events`: follow, show and replay the log. Shell."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sdk.contract.codec import DecodeError
from streams.commands import NOT_FOUND, CommandError
from streams.commands.event_files import export_log, import_file
from streams.commands.shared import (
    HelpfulGroup,
    Position,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
    to_ms,
)
from streams.log_files import entry_document, read_file
from streams.log_source import Entry, LogSource, open_source
from streams.render import clock, stamp, to_json
from streams.render_events import event_words, short_type
from streams.replaying import (
    COUNTED,
    Change,
    RecordingState,
    Step,
    field_changes,
    step,
)

if TYPE_CHECKING:
    from streams.settings import Settings

#: Events that `tail` begins with if not told where.
_TAIL = 20
#: Longest value of a field shown in a replay; `-o json` has all of it.
_VALUE_LENGTH_MAX = 100
#: Fields of rows that are points in time.
_TIMES = (
    "since_ms",
    "registered_at_ms",
    "ordered_at_ms",
    "started_at_ms",
    "submitted_at_ms",
    "engaged_at_ms",
    "at_ms",
)


@click.group(cls=HelpfulGroup)
def events() -> None:
    r"""Follow, show and replay the log: everything that happened, and why.

    \b
    Examples:
      python cli.py events tail
      python cli.py events show 1234
      python cli.py events replay --from -5m
    """


# --- tail ----------------------------------------------------------------------------------------------


@events.command("tail")
@click.option("--from", "start", type=Position(), help=f"Where to begin; the last {_TAIL} if not given.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on as events come.")
@output_option("table", "json")
@platform_options
def tail(
    start: int | datetime | None,
    follow: bool,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Print the newest events and go on as they come.

    \b
    Examples:
      python cli.py events tail
      python cli.py events tail --from 14:03
      python cli.py events tail --from 0 --no-follow -o json > log.jsonl
    """
    run(_tail(settings_of(bootstrap_servers, prefix), start, follow=follow, output=output))


async def _tail(settings: Settings, start: int | datetime | None, *, follow: bool, output: str) -> None:
    async with open_source(settings.bootstrap, settings.prefix) as source:
        end = await log_end(source)
        begin = max(0, end - _TAIL) if start is None else await offset_of(source, start, end)
        async for entry in source.read_log(begin, None if follow else end):
            if output == "json":
                click.echo(msgspec.json.encode(entry_document(entry)).decode())
            else:
                click.echo(event_line(entry))


async def log_end(source: LogSource) -> int:
    """The offset after the last record of the log."""
    log = (source.topics.events, 0)
    return (await source.ends([log]))[log]


async def offset_of(source: LogSource, position: int | datetime, end: int) -> int:
    """The offset of a position in the log: of the first record at or after a time."""
    if isinstance(position, int):
        return min(position, end)
    log = (source.topics.events, 0)
    found = (await source.offsets_at([log], to_ms(position)))[log]
    return end if found is None else found


def event_line(entry: Entry) -> str:
    """One event in one line."""
    head = f"{entry.offset:>6}  {clock(entry.append_ms)}.{entry.append_ms % 1_000:03d}  "
    if isinstance(entry.said, DecodeError):
        return head + click.style(f"(no event of ours: {entry.said})", fg="yellow")
    return f"{head}{click.style(f'{short_type(entry.said.type):<23}', bold=True)} {event_words(entry.said.event)}"


# --- show ----------------------------------------------------------------------------------------------


@events.command("show")
@click.argument("which", metavar="OFFSET|ID")
@output_option("table", "json")
@platform_options
def show(which: str, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Show one event in full, with what it changed and what it follows from.

    \b
    Examples:
      python cli.py events show 1234
      python cli.py events show 9f86d081884c7d659a2feaa0c55ad015 -o json
    """
    found = run(_find(settings_of(bootstrap_servers, prefix), which))
    if found is None:
        raise CommandError(f"There is no event {which} on the log.", NOT_FOUND)
    done, cause = found
    if output == "json":
        click.echo(to_json(step_document(done)))
        return
    click.echo(_step_text(done))
    if isinstance(done.entry.said, DecodeError):
        return
    if cause is not None:
        click.echo(f"  follows from  {event_line(cause).strip()}")
    click.echo(click.style("  in full", dim=True))
    event = msgspec.json.format(msgspec.json.encode(done.entry.said.event), indent=2).decode()
    click.echo("\n".join(f"    {line}" for line in event.splitlines()))


async def _find(settings: Settings, which: str) -> tuple[Step, Entry | None] | None:
    """The event with this offset or id, folded in its place, and the event that it follows from."""
    state = RecordingState()
    offsets: dict[str, int] = {}
    with progress_bar("folding the log") as bar:
        async with open_source(settings.bootstrap, settings.prefix) as source:
            end = await log_end(source)
            async for entry in source.read_log(0, end, bar):
                done = step(state, entry)
                said = None if isinstance(entry.said, DecodeError) else entry.said
                if str(entry.offset) == which or (said is not None and said.id == which):
                    cause = offsets.get(said.cause) if said is not None else None
                    return done, None if cause is None else await _entry_at(source, cause)
                if said is not None:
                    offsets[said.id] = entry.offset
    return None


async def _entry_at(source: LogSource, offset: int) -> Entry:
    return await anext(source.read_log(offset, offset + 1))


# --- replay --------------------------------------------------------------------------------------------


@events.command("replay")
@click.option("--from", "start", type=Position(), default="0", help="The first event to show.")
@click.option("--to", "end", type=Position(), help="The last event to show; the end of the log if not given.")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Replay a file that `events tail -o json` wrote; needs no Kafka.",
)
@click.option("--dropped", is_flag=True, help="Only events that the fold dropped.")
@click.option("--counters", is_flag=True, help="Also the counters and remembered requests.")
@output_option("table", "json")
@platform_options
def replay(
    start: int | datetime,
    end: int | datetime | None,
    path: Path | None,
    dropped: bool,
    counters: bool,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Fold the log with the live code and show each event, what it changed, and why or why not.

    What comes before --from is folded too, without showing it.

    \b
    Examples:
      python cli.py events replay --from -5m
      python cli.py events replay --from 1200 --to 1300
      python cli.py events replay --file log.jsonl --dropped
    """
    hidden = () if counters else COUNTED

    async def replay_all() -> None:
        entries = _from_file(path) if path is not None else _from_log(bootstrap_servers, prefix)
        state = RecordingState()
        async for entry in entries:
            if end is not None and _is_past(entry, end):
                break
            done = step(state, entry)
            if not _is_reached(entry, start) or (dropped and done.outcome.accepted):
                continue
            shown = [change for change in done.changes if change.table not in hidden]
            if output == "json":
                click.echo(msgspec.json.encode(step_document(done._replace(changes=shown))).decode())
            else:
                click.echo(_step_text(done._replace(changes=shown)))

    run(replay_all())


async def _from_file(path: Path) -> AsyncIterator[Entry]:
    for entry in read_file(path):
        yield entry


async def _from_log(bootstrap_servers: str | None, prefix: str | None) -> AsyncIterator[Entry]:
    settings = settings_of(bootstrap_servers, prefix)
    with progress_bar("folding the log") as bar:
        async with open_source(settings.bootstrap, settings.prefix) as source:
            async for entry in source.read_log(0, await log_end(source), bar):
                yield entry


def _is_reached(entry: Entry, start: int | datetime) -> bool:
    return entry.offset >= start if isinstance(start, int) else entry.append_ms >= to_ms(start)


def _is_past(entry: Entry, end: int | datetime) -> bool:
    return entry.offset > end if isinstance(end, int) else entry.append_ms > to_ms(end)


def step_document(done: Step) -> dict[str, Any]:
    """A step as a document."""
    changes = [
        {
            "table": change.table,
            "key": change.key,
            "fields": {field: {"old": old, "new": new} for field, old, new in field_changes(change)},
        }
        for change in done.changes
    ]
    verdict = {"accepted": done.outcome.accepted, "dropped": done.outcome.dropped}
    return entry_document(done.entry) | verdict | {"changes": changes}


def _step_text(done: Step) -> str:
    lines = [f"{stamp(done.entry.append_ms)[:10]} {event_line(done.entry).lstrip()}"]
    said = done.entry.said
    if not isinstance(said, DecodeError):
        lines.append(f"  written by {said.writer}" + (f", caused by {said.cause}" if said.cause else ""))
    if done.outcome.accepted:
        lines.append(
            "  " + click.style("accepted", fg="green") + ("" if done.changes else ", nothing changed")
        )
    else:
        lines.append("  " + click.style("dropped", fg="red") + f": {done.outcome.dropped}")
    lines += [line for change in done.changes for line in _change_lines(change)]
    return "\n".join(lines)


def _change_lines(change: Change) -> list[str]:
    name = f"{change.table} {change.key}"
    if change.new is None:
        return [f"  - {name} is forgotten"]
    sign = "+" if change.old is None else "~"
    fields = [
        f"      {field}: " + ("" if change.old is None else f"{_value(field, old)} -> ") + _value(field, new)
        for field, old, new in field_changes(change)
        if change.old is not None or new not in ("", None, [], {}, 0, -1)
    ]
    return [f"  {sign} {name}", *fields]


def _value(field: str, value: Any) -> str:
    if field in _TIMES and isinstance(value, int) and value > 0:
        return stamp(value)
    if field == "wake" and isinstance(value, dict):
        fired = "fired, " if value.get("fired") else ""
        return f"{fired}due at {clock(value['due_at_ms'])} (asked by {value['set_at']})"
    text = "-" if value is None else msgspec.json.encode(value).decode()
    return text if len(text) <= _VALUE_LENGTH_MAX else text[: _VALUE_LENGTH_MAX - 1] + "…"


events.add_command(export_log)
events.add_command(import_file)
