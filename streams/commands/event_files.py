"""`cli.py events export` and `events import`: the log as a file, and back. Shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.shared import (
    HelpfulCommand,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
)
from streams.commands.travelling import stretch_options
from streams.render import to_json

if TYPE_CHECKING:
    from datetime import datetime

    from streams.settings import Settings


@click.command("export", cls=HelpfulCommand)
@click.argument("path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@stretch_options
@output_option("table", "json")
@platform_options
def export_log(
    path: Path,
    start: int | datetime | None,
    end: int | datetime | None,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Write the log, or a stretch of it, to a file: a JSON document per line, compressed if FILE ends in .zst.

    \b
    Examples:
      python cli.py events export log.jsonl
      python cli.py events export night.jsonl.zst --from 22:00 --to 06:00
    """
    count, first, digest = run(_export(settings_of(bootstrap_servers, prefix), path, start, end))
    if output == "json":
        click.echo(to_json({"file": str(path), "records": count, "from": first, "fold_hash": digest}))
    else:
        click.echo(f"{count} records from offset {first} on in {path}")
        if digest:
            click.echo(f"their fold has the hash {digest}")


async def _export(
    settings: Settings, path: Path, start: int | datetime | None, end: int | datetime | None
) -> tuple[int, int, str]:
    from streams.log_files import FileWriter
    from streams.log_source import fold_entry
    from streams.travel.logs import begin_at, end_at, open_log
    from tables.digest import digest_of
    from tables.state import State

    async with open_log(settings) as log:
        first, last = await begin_at(log, start), await end_at(log, end)
        # A stretch from the middle has no state of its own.
        state = State() if first == 0 else None
        with FileWriter(path) as file, progress_bar("writing the log") as bar:
            async for batch in log.batches(first, last, bar):
                file.write(batch)
                if state is not None:
                    for entry in batch:
                        fold_entry(state, entry)
        return file.count, first, "" if state is None else digest_of(state)


@click.command("import", cls=HelpfulCommand)
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@output_option("table", "json")
@platform_options
def import_file(path: Path, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Write a whole log from a file to an empty cluster, or under a prefix that nobody uses.

    Offsets and append times are kept, so that the fold has the same hash; that is checked at the end. No worker may
    run under the prefix meanwhile.

    \b
    Examples:
      python cli.py events import log.jsonl --prefix night
      python cli.py state --prefix night
    """
    from streams.travel.importing import import_log

    settings = settings_of(bootstrap_servers, prefix)
    with progress_bar("writing the log") as bar:
        count, digest = run(import_log(settings.bootstrap, settings.prefix, path, bar))
    if output == "json":
        click.echo(to_json({"prefix": settings.prefix, "records": count, "fold_hash": digest}))
    else:
        click.echo(f"{count} records stand under the prefix {settings.prefix}")
        click.echo(f"their fold has the hash {digest}")
