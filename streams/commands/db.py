"""`cli.py db`: the two registries that other subsystems ask for, the Node DB and the Monitoring DB. Shell."""

from __future__ import annotations

import click

from streams.commands.shared import (
    HelpfulGroup,
    output_option,
    platform_options,
    read,
    run,
    settings_of,
    warn_unwatched,
)
from streams.render import coloured, table, to_json


@click.group(cls=HelpfulGroup)
def db() -> None:
    r"""Print the Node DB or the Monitoring DB.

    \b
    Examples:
      python cli.py db nodes -o json
      python cli.py db monitoring
    """


@db.command("nodes")
@output_option("table", "json")
@platform_options
def nodes(output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Print how many nodes there are, which have room, and what runs on each.

    \b
    Example:
      python cli.py db nodes -o json
    """
    from tables.registries import node_db

    reading = run(read(settings_of(bootstrap_servers, prefix)))
    warn_unwatched(reading)
    found = node_db(reading.state)
    if output == "json":
        click.echo(to_json(found))
        return
    click.echo(f"nodes        {found.number_of_nodes}")
    click.echo(f"unoccupied   {' '.join(found.unoccupied_node_ids) or '-'}")
    if found.nodes:
        rows = [
            [
                node.node_id,
                coloured(node.status),
                node.occupancy,
                node.type_of_service,
                " ".join(app.application_id for app in node.applications),
            ]
            for node in found.nodes
        ]
        click.echo("\n" + table(["node", "status", "occupancy", "type of service", "applications"], rows))


@db.command("monitoring")
@output_option("table", "json")
@platform_options
def monitoring(output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Print of each node and application whether it lives (1) or not (0), and how often it failed.

    \b
    Example:
      python cli.py db monitoring -o json
    """
    from tables.registries import monitoring_db

    reading = run(read(settings_of(bootstrap_servers, prefix)))
    warn_unwatched(reading)
    found = monitoring_db(reading.state)
    if output == "json":
        click.echo(to_json(found))
        return
    rows = [[node.node_id, str(node.status), str(node.failure_count)] for node in found.nodes]
    rows += [[app.application_id, str(app.status), str(app.failure_count)] for app in found.applications]
    click.echo(table(["source", "status", "failures"], rows))
