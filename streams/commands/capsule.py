"""`cli.py capsule`: an incident as one file, and its replay without Kafka. Shell."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands import FAILED
from streams.commands.options import Span
from streams.commands.shared import (
    HelpfulCommand,
    HelpfulGroup,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
)
from streams.commands.travelling import travel
from streams.render import clock, duration, stamp, to_json

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.travel.capsules import Capsule, FoundFact
    from streams.travel.incidents import Difference, Replay, Told

#: Before an event: the longest that a silence takes to be found, limit (10 s) and settling (20 s).
BEFORE = "30s"
#: After it: what replaces a node has 60 s to register.
AFTER = "60s"
#: Longest text of an event in the timeline; `-o json` has all of it.
_SAYS_MAX = 160


@click.group(cls=HelpfulGroup)
def capsule() -> None:
    r"""Save an incident as one file, and replay it on any machine.

    \b
    Examples:
      python cli.py capsule save --around 1234 night.capsule
      python cli.py capsule replay night.capsule
    """


@capsule.command(cls=HelpfulCommand)
@click.option("--around", "which", required=True, metavar="OFFSET|ID", help="The event that it is about.")
@click.option("--before", type=Span(), default=BEFORE, show_default=True, help="How much before it.")
@click.option("--after", type=Span(), default=AFTER, show_default=True, help="How much after it.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@output_option("table", "json")
@platform_options
def save(
    which: str,
    before: int,
    after: int,
    file: Path,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Save the records around an event: log, heartbeats, the state before, the policy, ids and versions.

    Heartbeats are kept for a day, so it is saved within a day. It holds what is on the log: names, addresses,
    commands and their environment; secrets are never on it.

    \b
    Examples:
      python cli.py capsule save --around 1234 night.capsule
      python cli.py capsule save --around 9f86d081884c7d659a2feaa0c55ad015 --before 2m --after 5m night.capsule
    """
    from streams.travel.capsules import write_capsule

    settings = settings_of(bootstrap_servers, prefix)
    made = run(_make(settings, which, before_ms=before, after_ms=after))
    size = write_capsule(file, made)
    summary = _summary(made) | {"file": str(file), "bytes": size}
    if output == "json":
        click.echo(to_json(summary))
        return
    click.echo(
        f"{file}: {summary['events']} events from {made.start} to {made.end - 1}, "
        f"{summary['heartbeats']} heartbeats of {len(made.heartbeats)} partitions, {size:,} bytes"
    )
    for line in _doubts(summary):
        click.secho(line, fg="yellow")


@capsule.command(name="replay", cls=HelpfulCommand)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@output_option("table", "json")
@click.pass_context
def replay_command(ctx: click.Context, file: Path, output: str) -> None:
    r"""Lead the live fold and watcher over a capsule's records, and say what happened.

    Exit code 1 and the first offset if anything differs from what was found when it was saved; 2 if the file is no
    capsule, or was changed. Needs no Kafka.

    \b
    Examples:
      python cli.py capsule replay night.capsule
      python cli.py capsule replay night.capsule -o json
    """
    from streams.travel.capsules import read_capsule
    from streams.travel.incidents import compare_courses, replay

    held = read_capsule(file)
    found = replay(held)
    difference = compare_courses(held, found.course)
    if output == "json":
        click.echo(to_json(_document(held, found, difference)))
    else:
        click.echo("\n".join(_lines(held, found, difference)))
    if difference is not None:
        ctx.exit(FAILED)


async def _make(settings: Settings, which: str, *, before_ms: int, after_ms: int) -> Capsule:
    from streams.travel.explaining import find_event
    from streams.travel.logs import KafkaLog
    from streams.travel.saving import make_capsule

    async with travel(settings, None) as (log, archive):
        assert isinstance(log, KafkaLog)
        with progress_bar("reading the incident") as bar:
            entry = await find_event(log, which, bar)
            return await make_capsule(
                settings, log, archive, entry, before_ms=before_ms, after_ms=after_ms, progress=bar
            )


def _summary(held: Capsule) -> dict[str, Any]:
    return {
        "event": held.event,
        "start": held.start,
        "end": held.end,
        "events": held.end - held.start,
        "heartbeats": sum(map(len, held.heartbeats.values())),
        "partitions": sorted(held.heartbeats),
        "facts": dict(sorted(Counter(fact.kind for fact in held.course.found).items())),
        "missed": held.course.missed,
        "unwritten": held.course.unwritten,
        "versions": held.versions,
        "policy_offset": held.policy_offset,
    }


def _doubts(summary: dict[str, Any]) -> list[str]:
    """What was found when it was saved and is not as it should be."""
    lines = []
    if summary["missed"]:
        lines.append(f"the watcher does not find the facts at {', '.join(map(str, summary['missed']))}")
    if summary["unwritten"]:
        lines.append(f"the watcher finds {len(summary['unwritten'])} facts that the log does not have")
    return lines


def _document(held: Capsule, found: Replay, difference: Difference | None) -> dict[str, Any]:
    return _summary(held) | {
        "hash": found.course.hashes[-1] if found.course.hashes else "",
        "difference": None if difference is None else difference._asdict(),
        "timeline": [
            {
                "offset": told.entry.offset,
                "append_ms": told.entry.append_ms,
                "event": name,
                "says": says,
                "dropped": told.dropped,
                "found_at": None
                if told.found is None
                else {"partition": told.found.partition, "offset": told.found.offset},
            }
            for told in found.told
            for name, says in [_words(told)]
        ],
    }


def _lines(held: Capsule, found: Replay, difference: Difference | None) -> list[str]:
    at_ms = next((told.entry.append_ms for told in found.told if told.entry.offset == held.event), 0)
    lines = [f"{stamp(at_ms)}  event {held.event} of {held.prefix}, fold {held.versions.get('fold')}"]
    for told in found.told:
        name, says = _words(told)
        entry = told.entry
        after_ms = entry.append_ms - at_ms
        sign = "-" if after_ms < 0 else "+"
        mark = ">" if entry.offset == held.event else " "
        head = f"{mark}{entry.offset:>7}  {clock(entry.append_ms)}  {sign}{abs(after_ms) / 1000:.3f} s"
        origin = "" if told.found is None else f"  [{_origin(told.found)}]"
        dropped = click.style(f"  dropped: {told.dropped}", fg="yellow") if told.dropped else ""
        lines.append(f"{head:<34}  {click.style(name, bold=True)}  {_short(says)}{origin}{dropped}")
    facts = len(found.course.found)
    length_ms = found.told[-1].entry.append_ms - found.told[0].entry.append_ms if found.told else 0
    lines += _doubts(_summary(held))
    if difference is None:
        verdict = f"the same fold and the same {facts} facts as when it was saved"
        lines.append(click.style(verdict, fg="green") + f": {len(found.told)} events, {duration(length_ms)}")
    else:
        lines.append(click.style(f"differs at offset {difference.offset}: {difference.text}", fg="red"))
    return lines


def _origin(found: FoundFact) -> str:
    """After what the watcher found a fact."""
    if found.partition >= 0:
        return f"heartbeat {found.partition}/{found.offset}"
    return f"event {found.folded}" if found.folded >= 0 else "from the beginning"


def _short(text: str) -> str:
    return text if len(text) <= _SAYS_MAX else text[: _SAYS_MAX - 1] + "…"


def _words(told: Told) -> tuple[str, str]:
    from sdk.contract.codec import DecodeError
    from streams.render_events import event_words, short_type

    said = told.entry.said
    if isinstance(said, DecodeError):
        return "garbage", str(said)
    return short_type(said.type), event_words(said.event)
