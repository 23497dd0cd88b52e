"""`cli.py doctor`: what is wrong with this machine or the running platform, and what to do. Part of the shell."""

from __future__ import annotations

import json

import click

from streams.commands import UNHEALTHY
from streams.commands.shared import HelpfulCommand

_COLOURS = {"ok": "green", "unhealthy": "red", "note": "yellow"}


@click.command(cls=HelpfulCommand)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "name"]), default="table", show_default=True
)
@click.option("--hosts", metavar="FILE", help="Also check that the hosts of this file can take nodes.")
@click.pass_context
def doctor(ctx: click.Context, /, *, output: str, hosts: str | None) -> None:
    r"""Check Python, disk, Java, Kafka's files, ports, broker, topics and the platform.

    Exit code 4 if something is unhealthy.

    \b
    Examples:
      python cli.py doctor
      python cli.py doctor --hosts hosts.toml
    """
    from streams.local.checks import check_hosts, examine
    from streams.settings import load_settings

    findings = [*examine(load_settings()), *(check_hosts(hosts) if hosts else [])]
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
