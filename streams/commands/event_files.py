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
@click.option(
    "--beats", is_flag=True, help="Also the heartbeats of the stretch, for `whatif` and `backtest`."
)
@stretch_options
@output_option("table", "json")
@platform_options
def export_log(
    path: Path,
    beats: bool,
    start: int | datetime | None,
    end: int | datetime | None,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Write the log, or a stretch of it, to a file: a JSON document per line, compressed if FILE ends in .zst.

    With --beats the heartbeats of the stretch stand between the events, and the log is written from its beginning, so
    that the file says all that is needed to decide again.

    \b
    Examples:
      python cli.py events export log.jsonl
      python cli.py events export night.jsonl.zst --from 22:00 --to 06:00
      python cli.py events export night.jsonl.zst --beats --from 22:00 --to 06:00
    """
    settings = settings_of(bootstrap_servers, prefix)
    work = _export_beats(settings, path, start, end) if beats else _export(settings, path, start, end)
    count, first, digest, heard = run(work)
    if output == "json":
        document = {"file": str(path), "records": count, "from": first, "fold_hash": digest}
        click.echo(to_json(document | ({"heartbeats": heard} if beats else {})))
    else:
        with_beats = f" and {heard} heartbeats" if beats else ""
        click.echo(f"{count} records from offset {first} on{with_beats} in {path}")
        if digest:
            click.echo(f"their fold has the hash {digest}")


async def _export(
    settings: Settings, path: Path, start: int | datetime | None, end: int | datetime | None
) -> tuple[int, int, str, int]:
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
        return file.count, first, "" if state is None else digest_of(state), 0


async def _export_beats(
    settings: Settings, path: Path, start: int | datetime | None, end: int | datetime | None
) -> tuple[int, int, str, int]:
    from streams.log_files import BeatRecord, FileWriter
    from streams.log_source import fold_entry
    from streams.travel.logs import KafkaLog, end_at, open_log
    from streams.travel.recordings import Stretch, recorded_on, span_of
    from tables.digest import digest_of
    from tables.state import State

    async with open_log(settings) as log:
        assert isinstance(log, KafkaLog)
        from_ms, to_ms = await span_of(log, Stretch(start, end))
        first, last = await log.offset_at(from_ms), await end_at(log, end)
        state = State()
        with FileWriter(path) as file, progress_bar("writing log and heartbeats") as bar:
            async for batch in log.batches(0, min(first, last)):
                file.write(batch)
                for entry in batch:
                    fold_entry(state, entry)
            async for items in recorded_on(log.source, (min(first, last), last), from_ms, to_ms, bar):
                file.write(items)
                for item in items:
                    if not isinstance(item, BeatRecord):
                        fold_entry(state, item)
        return file.count, 0, digest_of(state), file.beats


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
