"""`cli.py config`: the settings in force. Part of the shell."""

from __future__ import annotations

import json

import click


@click.group()
def config() -> None:
    """Show the settings of this deployment."""


@config.command()
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "name"]), default="table", show_default=True
)
def show(output: str) -> None:
    """Print each setting, its value and where it came from.

    Later wins: default, watchkeep.toml, environment WATCHKEEP_*, flags.
    """
    from streams.settings import explain_settings

    rows = explain_settings()
    if output == "json":
        click.echo(json.dumps([row._asdict() for row in rows], indent=2))
    elif output == "name":
        click.echo("\n".join(row.key for row in rows))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("SETTING", "VALUE", "FROM"):
            table.add_column(heading)
        for row in rows:
            table.add_row(row.key, _shown(row.value), row.source)
        Console(highlight=False).print(table)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
