"""`cli.py pools`: list and show pools, and set how many nodes they have. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.commands import NOT_FOUND, CommandError
from streams.commands.shared import (
    FORMATS,
    HelpfulGroup,
    now_ms,
    output_option,
    platform_options,
    read,
    run,
    settings_of,
    warn_unwatched,
)
from streams.render import clock, coloured, table, to_json
from tables.pools import is_takeable, nodes_max, register_within_ms, spares_of
from tables.rows import PoolRow

if TYPE_CHECKING:
    from streams.settings import Settings
    from tables.state import State


@click.group(cls=HelpfulGroup)
def pools() -> None:
    r"""List and show pools, and set how many nodes they have, within which bounds, and how many stand by.

    \b
    Examples:
      python cli.py pools list
      python cli.py pools show local
      python cli.py pools set local --spares 1
      python cli.py pools set local --nodes 4 --min 2 --max 8
    """


@pools.command("list")
@output_option(*FORMATS)
@platform_options
def list_pools(output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""List the pools: how many nodes serve and stand by, of how many that ought to.

    \b
    Examples:
      python cli.py pools list
      python cli.py pools list -o json
    """
    reading = run(read(settings_of(bootstrap_servers, prefix)))
    warn_unwatched(reading)
    views = [pool_view(reading.state, row) for _, row in sorted(reading.state.pools.items())]
    if output == "json":
        click.echo(to_json(views))
    elif output == "name":
        click.echo("\n".join(view["pool"] for view in views))
    elif views:
        click.echo(pools_table(views))
    else:
        click.echo("There are no pools; `python cli.py up` makes those of the settings.")


@pools.command("show")
@click.argument("pool")
@output_option("table", "json")
@platform_options
def show_pool(pool: str, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Show one pool: its nodes, its bounds, and what is wrong with it.

    \b
    Example:
      python cli.py pools show local
    """
    reading = run(read(settings_of(bootstrap_servers, prefix)))
    warn_unwatched(reading)
    view = pool_view(reading.state, known_pool(reading.state, pool))
    if output == "json":
        click.echo(to_json(view))
        return
    click.echo(f"{view['pool']}  {coloured(view['status'])}")
    most = f"at most {view['nodes_max']} in all"
    click.echo(f"  nodes         {view['serving']} of {view['nodes']}, at least {view['nodes_min']}, {most}")
    click.echo(f"  spares        {view['standing_by']} of {view['spares']}")
    click.echo(f"  creating      {view['creating']}")
    click.echo(f"  slots         {view['slots']} on each new node")
    click.echo(f"  register in   {view['register_within_ms'] / 1_000:g} s, then the node counts as failed")
    click.echo(f"  provisioner   {view['provisioner']}")
    if view["held_back_until_ms"]:
        until = clock(view["held_back_until_ms"], now_ms=now_ms())
        click.echo(f"  held back     until {until}: {view['strikes']} creations failed in a row")


@pools.command("set")
@click.argument("pool")
@click.option("--nodes", type=click.IntRange(min=0), help="Nodes that serve.")
@click.option("--min", "nodes_min", type=click.IntRange(min=0), help="Nobody shuts nodes down below this.")
@click.option(
    "--max", "nodes_max", type=click.IntRange(min=0), help="Nodes in all, spares included; 0: the policy's."
)
@click.option("--spares", type=click.IntRange(min=0), help="Nodes that stand by to take over.")
@click.option("--slots", type=click.IntRange(min=1), help="Slots of each new node.")
@click.option(
    "--register-within",
    "register_within_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How soon a new node must register; 0: the policy's.",
)
@platform_options
def set_pool(
    pool: str,
    nodes: int | None,
    nodes_min: int | None,
    nodes_max: int | None,
    spares: int | None,
    slots: int | None,
    register_within_s: float | None,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Set how many nodes a pool has; what is not named stays as it is.

    Nodes that are missing are created, spares that are too many are taken away. Nodes that are too many stay
    until somebody shuts them down.

    \b
    Examples:
      python cli.py pools set local --spares 1
      python cli.py pools set local --nodes 4 --min 2 --max 8
      python cli.py pools set local --register-within 600
    """
    values: dict[str, int | None] = {
        "nodes": nodes,
        "slots": slots,
        "nodes_min": nodes_min,
        "nodes_max": nodes_max,
        "spares": spares,
        "register_within_ms": None if register_within_s is None else round(register_within_s * 1_000),
    }
    given = {name: value for name, value in values.items() if value is not None}
    if not given:
        raise click.UsageError(
            "Say what to set: --nodes, --min, --max, --spares, --slots or --register-within."
        )
    run(_set(settings_of(bootstrap_servers, prefix), pool, given))


async def _set(settings: Settings, name: str, given: dict[str, int]) -> None:
    from sdk.contract.requests import ConfigurePool
    from streams.asking import ANSWER_WITHIN_S, open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        row = known_pool(talk.state, name)
        stays = {field: getattr(row, field) for field in _SET}
        answer = await talk.ask(ConfigurePool(row.pool, **{**stays, **given}), timeout_s=ANSWER_WITHIN_S)
        view = pool_view(talk.state, talk.state.pools[row.pool])
        spares = f", {view['spares']} spares" if view["spares"] else ""
        click.echo(
            f"{view['pool']}: {view['nodes']} nodes{spares}, {view['nodes_min']} to {view['nodes_max']} in all "
            f"(event {answer.offset})"
        )


#: What `ConfigurePool` says of a pool, by the names of its row.
_SET = ("nodes", "slots", "nodes_min", "nodes_max", "spares", "register_within_ms")


def known_pool(state: State, name: str) -> PoolRow:
    """The row of a pool, named with or without `pool-`.

    Raises:
        CommandError: there is none.
    """
    row = state.pools.get(f"pool-{name.removeprefix('pool-')}")
    if row is None:
        known = ", ".join(pool.removeprefix("pool-") for pool in sorted(state.pools)) or "none yet"
        raise CommandError(f"There is no pool {name!r:.80}; there are: {known}.", NOT_FOUND)
    return row


def pool_view(state: State, row: PoolRow) -> dict[str, Any]:
    """A pool for people and programs."""
    living = [state.nodes[node] for node in state.live_nodes.get(row.pool, ())]
    waits = row.wake is not None and not row.wake.fired
    provisioner = "silent" if row.silent else "there" if row.registration else "none"
    status = "degraded" if row.degraded else "no provisioner" if provisioner != "there" else "ok"
    return {
        "pool": row.pool.removeprefix("pool-"),
        "status": status,
        "nodes": row.nodes,
        "serving": sum(not (node.spare or node.draining or node.silent) for node in living),
        "spares": row.spares,
        "standing_by": sum(is_takeable(spare) for spare in spares_of(state, row.pool)),
        "creating": sum(state.orders[str(order)].pool == row.pool for order in state.open_orders),
        "nodes_min": row.nodes_min,
        "nodes_max": nodes_max(state, row),
        "slots": row.slots,
        "register_within_ms": register_within_ms(state, row),
        "provisioner": provisioner,
        "strikes": row.strikes,
        "held_back_until_ms": row.wake.due_at_ms if waits and row.wake is not None else 0,
    }


def pools_table(views: list[dict[str, Any]]) -> str:
    """Pools for people."""
    rows = [
        [
            view["pool"],
            coloured(view["status"]),
            f"{view['serving']}/{view['nodes']}",
            f"{view['standing_by']}/{view['spares']}",
            str(view["creating"]),
            str(view["nodes_min"]),
            str(view["nodes_max"]),
            str(view["slots"]),
        ]
        for view in views
    ]
    return table(["pool", "status", "nodes", "spares", "creating", "min", "max", "slots"], rows)
