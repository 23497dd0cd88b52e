"""`cli.py fork`: go on from a moment in the simulator, with faults, on a copy. Shell.

The simulator lives in `tests/simulation` and is imported when the command runs, with the checkout as root.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sdk.contract.topics import WIDE_PARTITIONS
from streams.commands import FAILED, NOT_FOUND, CommandError
from streams.commands.options import Span
from streams.commands.shared import (
    HelpfulCommand,
    Position,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
)
from streams.commands.travelling import file_option, travel
from streams.render import stamp, to_json
from streams.render_events import event_words, short_type

if TYPE_CHECKING:
    from datetime import datetime

    from streams.log_source import Entry, Place
    from streams.settings import Settings
    from tests.simulation.forking import Forked
    from tests.simulation.past import Past

#: Records of the log that simulated topics hold before the moment; who starts there begins with the fold of it.
RECORDS_MAX = 10_000
#: A simulated minute of 100 nodes takes about 6 s of a core.
FOR_MAX_MS = 3_600_000


@click.command(cls=HelpfulCommand)
@click.option("--at", "at", type=Position(), help="The moment: an offset or a time; the end if not given.")
@click.option("--inject", "faults", multiple=True, metavar="FAULT", help="What breaks; several are allowed.")
@click.option("--for", "for_ms", type=Span(), default="2m", show_default=True, help="How long; 1h at most.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Chance of the fork.")
@file_option
@output_option("table", "json")
@platform_options
@click.pass_context
def fork(
    ctx: click.Context,
    at: int | datetime | None,
    faults: tuple[str, ...],
    for_ms: int,
    seed: int,
    path: Path | None,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Go on from a moment in the simulator, break something, and see what the platform would do.

    The same code runs on a copy in virtual time; nothing real is written. A fault is VERB THING [for TIME] [@+TIME]:
    kill, hang or restart a node, app, worker (or `leader`), pool or `broker`; cut a node, worker or pool off from
    Kafka. Times count from the moment at which the fork stands: a worker leads, and agents know their orders. Exit
    code 1 if something that ran before does not run at the end.

    \b
    Examples:
      python cli.py fork --inject "kill node-127.0.0.1_8085"
      python cli.py fork --at 14:03 --inject "hang application-7" --inject "kill leader @+10s" --for 5m
      python cli.py fork --at 1234 --inject "cut node-127.0.0.1_8085 for 30s" -o json
    """
    if not 0 < for_ms <= FOR_MAX_MS:
        raise click.BadParameter("is from 1ms to 1h", param_hint="--for")
    past = run(_past(settings_of(bootstrap_servers, prefix), path, at))
    forked = _run(past, faults, for_ms=for_ms, seed=seed)
    if output == "json":
        click.echo(to_json(_document(past, forked)))
    else:
        click.echo("\n".join(_lines(past, forked)))
    if forked.missing:
        ctx.exit(FAILED)


def _run(past: Past, faults: tuple[str, ...], *, for_ms: int, seed: int) -> Forked:
    import logging

    from tests.simulation.forking import run_fork

    logging.disable(logging.WARNING)
    try:
        with progress_bar("simulating") as bar:
            return run_fork(past, faults, for_ms=for_ms, seed=seed, progress=bar)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--inject") from None
    finally:
        logging.disable(logging.NOTSET)


async def _past(settings: Settings, path: Path | None, at: int | datetime | None) -> Past:
    from streams.travel.logs import KafkaLog, end_at
    from tests.simulation.past import Logged, Past

    async with travel(settings, path) as (log, archive):
        end = await end_at(log, at)
        if not end:
            raise CommandError("There is nothing on the log before that moment.", NOT_FOUND)
        with progress_bar("folding the log") as bar:
            state = await archive.state_at(end, bar)
        entries: list[Entry] = []
        async for batch in log.batches(max(0, end - RECORDS_MAX), end):
            entries += batch
        ends: Mapping[int, int] = {}
        heartbeats_id = ""
        if isinstance(log, KafkaLog):
            ends, heartbeats_id = await _heartbeats(settings, log, entries[-1].append_ms)
        records = [Logged(each.offset, each.append_ms, None, each.raw) for each in entries]
        return Past(
            state,
            records,
            prefix=settings.prefix,
            events_id=log.log_id,
            heartbeats_id=heartbeats_id or _heartbeats_id(entries),
            heartbeat_ends=dict(ends),
        )


def _heartbeats_id(entries: list[Entry]) -> str:
    """The id of the heartbeats topic as facts of a file name it."""
    ids = [getattr(getattr(each.said, "event", None), "topic_id", "") for each in entries]
    return next((found for found in reversed(ids) if found), "heartbeats")


async def _heartbeats(settings: Settings, log: Any, at_ms: int) -> tuple[dict[int, int], str]:
    """Where each heartbeat partition ended at a moment, and the id of their topic."""
    import asyncio

    from streams.topics import read_topic_ids

    ids = await asyncio.to_thread(read_topic_ids, settings.bootstrap, settings.prefix)
    places: list[Place] = [(log.source.topics.heartbeats, number) for number in range(WIDE_PARTITIONS)]
    found, ends = await log.source.offsets_at(places, at_ms + 1), await log.source.ends(places)
    return {place[1]: ends[place] if (at := found[place]) is None else at for place in places}, ids.heartbeats


def _document(past: Past, forked: Forked) -> dict[str, Any]:
    return {
        "offset": past.state.offset,
        "at_ms": forked.began_ms,
        "stood_after_ms": forked.stood_ms - forked.began_ms if forked.stood else None,
        "injected": [
            {"after_ms": each.at_ms - forked.stood_ms, "fault": each.text, "hit": each.hit}
            for each in forked.struck
        ],
        "events": [
            {
                "after_ms": each.append_ms - forked.stood_ms,
                "offset": each.offset,
                "event": short_type(each.said.type),
                "says": event_words(each.said.event),
                "dropped": each.dropped,
            }
            for each in forked.told
        ],
        "apps": [
            {
                "app": loss.app,
                "lost_after_ms": loss.lost_at_ms - forked.stood_ms,
                "back_after_ms": loss.back_at_ms - forked.stood_ms if loss.back_at_ms >= 0 else None,
                "down_ms": loss.down_ms if loss.down_ms >= 0 else None,
                "was_on": loss.was_on,
                "is_on": loss.is_on,
            }
            for loss in forked.losses
        ],
        "whole_after_ms": forked.whole_after_ms if forked.whole_after_ms >= 0 else None,
        "missing": forked.missing,
        "brake": {
            "is_on": forked.brake_is_on,
            "events": [{"after_ms": ms - forked.stood_ms, "event": name} for ms, name in forked.brake],
        },
        "simulated_ms": forked.ended_ms - forked.began_ms,
    }


def _lines(past: Past, forked: Forked) -> list[str]:
    stood = _seconds(forked.stood_ms - forked.began_ms)
    lines = [
        f"a copy of the platform at offset {past.state.offset}, {stamp(forked.began_ms)}; "
        + (f"stands after {stood}" if forked.stood else f"does not stand after {stood}")
    ]
    story = [(each.append_ms, 1, _event_line(each, forked)) for each in forked.told]
    story += [
        (each.at_ms, 0, click.style(f"{_after(each.at_ms, forked):>11}  {each.text}: {each.hit}", fg="red"))
        for each in forked.struck
    ]
    lines += [text for _, _, text in sorted(story, key=lambda item: item[:2])]
    for loss in forked.losses:
        where = f"was on {loss.was_on}"
        lines.append(
            f"{loss.app}: runs again on {loss.is_on} {_seconds(loss.down_ms)} after the fault ({where})"
            if loss.back_at_ms >= 0
            else click.style(f"{loss.app}: does not run again ({where})", fg="red")
        )
    lines.append(_brake_line(forked))
    if forked.missing:
        lines.append(click.style(f"missing at the end: {', '.join(forked.missing)}", fg="red"))
    elif forked.whole_after_ms:
        whole = _seconds(forked.whole_after_ms)
        lines.append(click.style(f"everything runs again {whole} after the first fault", fg="green"))
    else:
        lines.append(click.style("nothing that ran was ever missing", fg="green"))
    return lines


def _event_line(each: Any, forked: Forked) -> str:
    dropped = click.style(f"  dropped: {each.dropped}", fg="yellow") if each.dropped else ""
    name = click.style(short_type(each.said.type), bold=True)
    return f"{_after(each.append_ms, forked):>11}  {each.offset:>7}  {name}  {event_words(each.said.event)}{dropped}"


def _brake_line(forked: Forked) -> str:
    if not forked.brake:
        return "the brake " + ("stayed on" if forked.brake_is_on else "stayed off")
    words = {"BrakeEngaged": "on", "BrakeReleased": "off"}
    return "the brake: " + ", ".join(f"{words[name]} at {_after(ms, forked)}" for ms, name in forked.brake)


def _after(at_ms: int, forked: Forked) -> str:
    after_ms = at_ms - forked.stood_ms
    return f"{'-' if after_ms < 0 else '+'}{abs(after_ms) / 1000:.3f} s"


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.1f} s"
