"""`cli.py verify`: prove that the published tables are what the log says. Shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands import FAILED
from streams.commands.shared import (
    HelpfulGroup,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
)
from streams.commands.travelling import file_option, stretch_options
from streams.render import duration, to_json

if TYPE_CHECKING:
    from datetime import datetime

    from streams.settings import Settings
    from streams.travel.hashes import Hashes
    from streams.travel.proving import Proof


@click.group(cls=HelpfulGroup, invoke_without_command=True)
@click.option(
    "--hashes", is_flag=True, help="Compare every hash of the fold on the log with a fold of it instead."
)
@file_option
@output_option("table", "json")
@platform_options
@click.pass_context
def verify(
    ctx: click.Context,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
    path: Path | None,
    *,
    hashes: bool,
) -> None:
    r"""Fold the whole log and compare with the published tables, row by row.

    Works while the platform runs. Each difference is printed, and the exit code is 1 if there is one.

    \b
    Examples:
      python cli.py verify
      python cli.py verify -o json
      python cli.py verify --hashes
      python cli.py verify --hashes --file log.jsonl.zst
      python cli.py verify certificates
    """
    if ctx.invoked_subcommand is not None:
        return
    if hashes:
        _show_hashes(ctx, run(_hashes(settings_of(bootstrap_servers, prefix), path)), output)
        return
    if path is not None:
        raise click.UsageError("--file goes with --hashes: a log in a file has no tables to compare with.")
    import time

    from streams.verifying import verify as verify_view

    settings = settings_of(bootstrap_servers, prefix)
    started_s = time.monotonic()
    with progress_bar("folding the log") as bar:
        verdict = run(verify_view(settings.bootstrap, settings.prefix, bar))
    if output == "json":
        click.echo(to_json(verdict))
    else:
        for text in verdict.differences:
            click.echo(text)
        took = duration(int((time.monotonic() - started_s) * 1_000))
        what = f"{verdict.rows} rows against {verdict.events} events in {took}"
        if verdict.differences:
            click.secho(f"{len(verdict.differences)} differences: {what}", fg="red", err=True)
        else:
            click.secho(f"No difference: {what}", fg="green")
        if verdict.skipped:
            click.echo(
                f"{verdict.skipped} records on the state topics are no rows and were passed over", err=True
            )
    if verdict.differences:
        ctx.exit(FAILED)


def _show_hashes(ctx: click.Context, found: Hashes, output: str) -> None:
    if output == "json":
        wrong = [each._asdict() for each in found.wrong]
        click.echo(to_json({"checked": found.checked, "events": found.events, "wrong": wrong}))
    else:
        for each in found.wrong:
            here = f"this fold has {each.folded}" if each.folded else "the log has no such record"
            click.echo(
                f"{each.offset:>6}  says that the state as of {each.as_of} has the hash {each.said} "
                f"(fold version {each.fold_version}), but {here}"
            )
        text = f"{found.checked} hashes of {found.events} events: "
        text += (
            f"{len(found.wrong)} differ, the first as of {found.wrong[0].as_of}"
            if found.wrong
            else "all hold"
        )
        click.secho(text, fg="red" if found.wrong else "green")
    if found.wrong:
        ctx.exit(FAILED)


async def _hashes(settings: Settings, path: Path | None) -> Hashes:
    from streams.travel.hashes import verify_hashes
    from streams.travel.logs import open_log

    async with open_log(settings, path) as log:
        with progress_bar("hashing the log") as bar:
            return await verify_hashes(log, bar)


@verify.command("certificates")
@stretch_options
@file_option
@output_option("table", "json")
@platform_options
@click.pass_context
def certificates(
    ctx: click.Context,
    start: int | datetime | None,
    end: int | datetime | None,
    path: Path | None,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Derive every fact and decision again from the records that it cites, with an independent checker.

    `proven`: it follows from records that are there. `recorded`: its heartbeats are not retained any more, or it rests
    on what no record says. `stated`: neither fact nor decision. `void`: a decision of a term that is over. `failed`:
    the records say something else; each of these is printed with its offset, and the exit code is 1.

    \b
    Examples:
      python cli.py verify certificates
      python cli.py verify certificates --from -1h -o json
      python cli.py verify certificates --file night.jsonl.zst
    """
    proof = run(_certificates(settings_of(bootstrap_servers, prefix), path, start, end))
    if output == "json":
        click.echo(to_json({"verdicts": proof.verdicts, "failed": [each._asdict() for each in proof.failed]}))
    else:
        for found in proof.failed:
            click.echo(f"{found.offset:>6}  {found.text}")
        counts = ", ".join(f"{count} {verdict}" for verdict, count in proof.verdicts.items()) or "no records"
        click.secho(counts, fg="red" if proof.failed else "green")
    if proof.failed:
        ctx.exit(FAILED)


async def _certificates(
    settings: Settings, path: Path | None, start: int | datetime | None, end: int | datetime | None
) -> Proof:
    from streams.commands.explain import heard
    from streams.travel.file_heartbeats import FileHeartbeats
    from streams.travel.logs import begin_at, end_at, open_log
    from streams.travel.proving import verify_certificates

    async with open_log(settings, path) as log, heard(settings, path, log) as heartbeats:
        first, last = await begin_at(log, start), await end_at(log, end)
        if isinstance(heartbeats, FileHeartbeats):
            with progress_bar("looking up the heartbeats") as bar:
                await heartbeats.foresee(log, first, last, bar)
        with progress_bar("checking the log") as bar:
            return await verify_certificates(log, heartbeats, start=first, end=last, progress=bar)
