"""`cli.py verify`: prove that the published tables are what the log says. Shell."""

from __future__ import annotations

import click

from streams.commands import FAILED
from streams.commands.shared import (
    HelpfulCommand,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
)
from streams.render import duration, to_json


@click.command(cls=HelpfulCommand)
@output_option("table", "json")
@platform_options
@click.pass_context
def verify(ctx: click.Context, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Fold the whole log and compare with the published tables, row by row.

    Works while the platform runs. Each difference is printed, and the exit code is 1 if there is one.

    \b
    Examples:
      python cli.py verify
      python cli.py verify -o json
    """
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
