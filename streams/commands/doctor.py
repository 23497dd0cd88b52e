"""`cli.py doctor`: what is wrong with this machine or the running platform, and what to do. Part of the shell."""

from __future__ import annotations

import json

import click

from streams.commands import UNHEALTHY

_COLOURS = {"ok": "green", "unhealthy": "red", "note": "yellow"}


@click.command()
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "name"]), default="table", show_default=True
)
@click.pass_context
def doctor(ctx: click.Context, /, *, output: str) -> None:
    """Check Python, disk, Java, Kafka's files, ports, broker, topics and the platform.

    Exit code 4 if something is unhealthy.
    """
    from streams.local.checks import examine
    from streams.settings import load_settings

    findings = examine(load_settings())
    if output == "json":
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    elif output == "name":
        click.echo("\n".join(finding.check for finding in findings if finding.state == "unhealthy"))
    else:
        for finding in findings:
            state = click.style(f"{finding.state:<10}", fg=_COLOURS[finding.state])
            click.echo(f"{state} {finding.check:<12} {finding.detail}")
    if any(finding.state == "unhealthy" for finding in findings):
        ctx.exit(UNHEALTHY)
