"""`cli.py bisect`: the first event after which an expression holds. Shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands import NOT_FOUND, CommandError
from streams.commands.shared import (
    HelpfulCommand,
    Position,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
)
from streams.commands.travelling import file_option, stretch_options, travel
from streams.render import to_json

if TYPE_CHECKING:
    from datetime import datetime

    from streams.log_source import Entry
    from streams.settings import Settings
    from streams.travel.searching import Found
    from tables.expressions import Expression


@click.command(cls=HelpfulCommand)
@click.option("--until", "text", required=True, metavar="EXPR", help="What is to hold, in the words below.")
@click.option("--good", type=Position(), help="A moment at which it does not hold; with --bad.")
@click.option("--bad", type=Position(), help="A later moment at which it does; with --good.")
@stretch_options
@file_option
@output_option("table", "json")
@platform_options
def bisect(
    text: str,
    good: int | datetime | None,
    bad: int | datetime | None,
    start: int | datetime | None,
    end: int | datetime | None,
    path: Path | None,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Find the first event after which an expression holds.

    Expressions that name what they are about are looked up in the histories of these rows. With --good and --bad the
    moments between are halved, which finds one event at which the expression began to hold, for any expression.

    \b
    Expressions, joined with and, or, not and ( ):
      app application-7 on node-127.0.0.1_8085     node node-127.0.0.1_8085 is down
      app application-7 failures >= 3              app application-7 is gave-up
      brake is on                                  nodes silent > 2

    \b
    Examples:
      python cli.py bisect --until "app application-7 on node-127.0.0.1_8085"
      python cli.py bisect --until "node node-127.0.0.1_8085 is down" --from -1h
      python cli.py bisect --until "nodes down >= 3" --good 1200 --bad 98000
    """
    from tables.expressions import ExpressionError, parse_expression

    if (good is None) != (bad is None):
        raise click.UsageError("--good and --bad go together.")
    if good is not None and (start is not None or end is not None):
        raise click.UsageError("--good and --bad say where to look; leave --from and --to out.")
    try:
        expression = parse_expression(text)
    except ExpressionError as error:
        raise click.BadParameter(f"{error}.", param_hint="--until") from None
    settings = settings_of(bootstrap_servers, prefix)
    stretch = (start, end) if good is None else (good, bad)
    found, entry = run(_bisect(settings, path, expression, stretch, halving=good is not None))
    if found.offset < 0 and not found.held_before:
        raise CommandError(f"`{text}` does not hold after any event there.", NOT_FOUND)
    if output == "json":
        what = {"until": text, "offset": found.offset, "held_before": found.held_before, "tried": found.tried}
        click.echo(to_json(what))
    elif found.held_before:
        click.echo(f"It holds already after offset {found.offset}, before the first event there.")
    else:
        from streams.commands.events import event_line

        assert entry is not None
        click.echo(event_line(entry).strip())
        click.echo(f"  python cli.py events show {found.offset}   shows it in full")


async def _bisect(
    settings: Settings,
    path: Path | None,
    expression: Expression,
    stretch: tuple[int | datetime | None, int | datetime | None],
    *,
    halving: bool,
) -> tuple[Found, Entry | None]:
    from streams.travel.logs import begin_at, end_at
    from streams.travel.searching import find_first, halve

    async with travel(settings, path) as (log, archive):
        with progress_bar("searching the log") as bar:
            last = await end_at(log, stretch[1])
            if halving:
                good = await end_at(log, stretch[0]) - 1
                found = await halve(archive, expression, good=good, bad=last - 1, progress=bar)
            else:
                first = await begin_at(log, stretch[0])
                found = await find_first(archive, expression, start=first, end=last, progress=bar)
        if found.offset < 0:
            return found, None
        async for batch in log.batches(found.offset, found.offset + 1):
            return found, batch[0]
        return found, None
