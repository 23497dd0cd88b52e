"""`cli.py nodes`: list, show, create, cordon, drain and shut down nodes. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sdk.contract.codec import Recorded
from sdk.contract.ids import pool_id
from streams.commands import CommandError
from streams.commands.node_standing import cordon_node, drain_node, uncordon_node
from streams.commands.node_usage import fetch_usage, usage_words
from streams.commands.options import check_known, no_wait_option, timeout_option
from streams.commands.shared import (
    FORMATS,
    HelpfulGroup,
    complete_nodes,
    now_ms,
    output_option,
    platform_options,
    read,
    run,
    settings_of,
    warn_unwatched,
    watch,
)
from streams.render import clock, coloured, duration, node_view, node_views, nodes_table, to_json
from streams.settings import Settings
from tables.pools import nodes_in_pool

if TYPE_CHECKING:
    from sdk.contract.requests import Request, RequestNode
    from streams.asking import Conversation
    from streams.log_source import Entry
    from tables.fold import Outcome
    from tables.state import State

#: How long a new node may take before we stop waiting, s: the policy's 60 s to register and a try after it.
CREATE_WITHIN_S = 120.0
_CPU = "Hundredths of a core that are needed."
_MEMORY = "Memory that is needed."


@click.group(cls=HelpfulGroup)
def nodes() -> None:
    r"""List, show, create, cordon, drain and shut down nodes.

    \b
    Examples:
      python cli.py nodes list
      python cli.py nodes list --all -o json
      python cli.py nodes create --count 2
      python cli.py nodes request --slots 2
      python cli.py nodes shutdown node-127.0.0.1_8083
    """


for standing in (cordon_node, uncordon_node, drain_node):
    nodes.add_command(standing)


@nodes.command("list")
@click.option("-a", "--all", "gone", is_flag=True, help="Also nodes that are down or have left.")
@click.option("--watch", "watched", is_flag=True, help="Look again each second.")
@output_option(*FORMATS)
@platform_options
def list_nodes(
    gone: bool, watched: bool, output: str, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""List the nodes, what runs on them and how full they are.

    \b
    Examples:
      python cli.py nodes list
      python cli.py nodes list --watch
      python cli.py nodes list -o name
    """
    settings = settings_of(bootstrap_servers, prefix)

    async def look() -> str:
        reading = await read(settings)
        warn_unwatched(reading)
        views = node_views(reading.state, gone=gone)
        if output == "json":
            return to_json(views)
        if output == "name":
            return "\n".join(view["node"] for view in views if view["registration"])
        if not views:
            return "There are no nodes; `python cli.py nodes create` asks for one."
        return nodes_table(views, now_ms())

    run(watch(look)) if watched else click.echo(run(look()))


@nodes.command("show")
@click.argument("node", shell_complete=complete_nodes)
@output_option("table", "json")
@platform_options
def show_node(node: str, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Show one node: where it is, what it offers and runs, how busy it is, how often it failed.

    \b
    Example:
      python cli.py nodes show node-127.0.0.1_8082
    """
    reading = run(read(settings_of(bootstrap_servers, prefix)))
    warn_unwatched(reading)
    view = node_view(reading.state, reading.state.nodes[check_known(reading.state, node)])
    if output == "json":
        usage = fetch_usage(view["ip"], view["port"]) if view["status"] not in ("down", "left") else None
        click.echo(to_json({**view, "usage": usage}))
        return
    now = now_ms()
    click.echo(f"{view['node']}  {coloured(view['status'])}")
    click.echo(f"  since         {clock(view['since_ms'], now_ms=now)} ({duration(now - view['since_ms'])})")
    click.echo(f"  pool          {view['pool'].removeprefix('pool-')}")
    click.echo(f"  address       {view['ip']}:{view['port']}")
    click.echo(
        f"  slots         {view['slots_used']} of {view['slots']} used ({view['occupancy'] or 'gone'})"
    )
    click.echo(f"  registration  {view['registration']}  (python cli.py events show {view['registration']})")
    click.echo(f"  failures      {view['failure_count']}")
    click.echo(f"  drivers       {', '.join(view['drivers'])}")
    if view["limits"]:
        click.echo(f"  limits        {view['limits']}")
    if view["cpu_percent"] or view["memory_mib"]:
        click.echo(f"  offers        {view['cpu_percent'] / 100:g} cores, {view['memory_mib']} MiB")
    if view["status"] not in ("down", "left"):
        click.echo(f"  right now     {usage_words(fetch_usage(view['ip'], view['port']))}")
    if view["quarantined_until_ms"]:
        until = clock(view["quarantined_until_ms"], now_ms=now)
        click.echo(f"  quarantine    until {until}, or `python cli.py nodes uncordon {view['node']}`")
    if view["cordoned"]:
        click.echo("  cordoned      takes no more apps")
    if view["down_reason"]:
        click.echo(f"  down because  {view['down_reason']}")
    for app in view["apps"]:
        click.echo(f"  runs          {app['app']}  {coloured(app['status'])}")


# --- asking --------------------------------------------------------------------------------------------


@nodes.command("create")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many.")
@click.option("--pool", "pool", metavar="NAME", help="The pool; the one of the settings if not given.")
@no_wait_option
@timeout_option(CREATE_WITHIN_S)
@platform_options
def create_nodes(
    count: int,
    pool: str | None,
    no_wait: bool,
    timeout_s: float,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Ask for nodes, wait until they serve and print their ids.

    \b
    Examples:
      python cli.py nodes create
      python cli.py nodes create --count 2 --no-wait
      python cli.py nodes create --pool local
    """
    settings = settings_of(bootstrap_servers, prefix)
    run(_create(settings, pool or settings.default_pool, count, timeout_s=timeout_s, no_wait=no_wait))


async def _create(settings: Settings, pool_name: str, count: int, *, timeout_s: float, no_wait: bool) -> None:
    from sdk.contract.requests import CreateNode
    from streams.asking import ANSWER_WITHIN_S, open_conversation

    pool = _pool_of(pool_name)
    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        answer = await talk.ask(CreateNode(pool, count), timeout_s=min(timeout_s, ANSWER_WITHIN_S))
        click.echo(f"{pool} is asked for {count} more (event {answer.offset})", err=True)
        # Nodes that were missing before come first: they are somebody else's.
        row = talk.state.pools[pool]
        owed = max(0, row.nodes - count - nodes_in_pool(talk.state, pool, staying=True))
        if no_wait:
            return

        def created() -> list[str]:
            return new_nodes(talk.state, pool, after=answer.offset, after_ms=answer.append_ms)[owed:][:count]

        done = await talk.until(lambda: len(created()) >= count, timeout_s=timeout_s)
        for node in created():
            click.echo(node)
        if not done:
            row = talk.state.pools[pool]
            hint = f" ({row.strikes} creations failed in a row)" if row.strikes else ""
            raise CommandError(
                f"{len(created())} of {count} nodes registered within {timeout_s:g} s{hint}; the wish stands."
            )


def new_nodes(state: State, pool: str, *, after: int, after_ms: int) -> list[str]:
    """Nodes that joined a pool after an offset (and its time), in the order in which they were ordered or taken.

    Without those that replace a node which died only then.
    """
    found = []
    for row in state.nodes.values():
        order = state.orders[str(row.order)]
        dead = state.nodes.get(order.replaces)
        is_replacement = dead is not None and dead.status == "down" and dead.since_ms >= after_ms
        if row.pool == pool and order.serves_from > after and not row.spare and not is_replacement:
            found.append((order.serves_from, row.node))
    return [node for _, node in sorted(found)]


@nodes.command("request")
@click.option(
    "--slots", type=click.IntRange(min=1), default=1, show_default=True, help="Room that is needed."
)
@click.option("--cpu", "cpu_percent", type=click.IntRange(min=0), default=0, metavar="N", help=_CPU)
@click.option("--memory", "memory_mib", type=click.IntRange(min=0), default=0, metavar="MIB", help=_MEMORY)
@click.option("--new", "new", is_flag=True, help="A node of its own, however free the others are.")
@click.option("--pool", "pool", metavar="NAME", help="The pool; any if not given.")
@timeout_option(CREATE_WITHIN_S)
@platform_options
def request_node(
    slots: int,
    cpu_percent: int,
    memory_mib: int,
    new: bool,
    pool: str | None,
    timeout_s: float,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Ask for room on a node, a free one if one fits, else a new one, and print the node.

    The room is kept for `apps run --grant`, for as long as the policy's `grant_within_ms` says.

    \b
    Examples:
      python cli.py nodes request
      python cli.py nodes request --slots 2 --new
      python cli.py nodes request --cpu 50 --memory 200 --pool local
    """
    from sdk.contract.requests import RequestNode

    settings = settings_of(bootstrap_servers, prefix)
    wish = RequestNode(
        _pool_of(pool) if pool else "", slots, new, cpu_percent=cpu_percent, memory_mib=memory_mib
    )
    run(_request(settings, wish, timeout_s=timeout_s))


async def _request(settings: Settings, wish: RequestNode, *, timeout_s: float) -> None:
    from sdk.contract.events import GrantRefused
    from streams.asking import ANSWER_WITHIN_S, open_conversation

    refusals: list[str] = []
    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        grant = (await talk.ask(wish, timeout_s=min(timeout_s, ANSWER_WITHIN_S))).offset

        def note(entry: Entry, outcome: Outcome) -> None:
            event = entry.said.event if isinstance(entry.said, Recorded) else None
            if isinstance(event, GrantRefused) and event.grant == grant and outcome.accepted:
                refusals.append(event.reason)

        def is_answered() -> bool:
            row = talk.state.grants.get(str(grant))
            return row is None or bool(row.node)

        if not await talk.until(is_answered, timeout_s=timeout_s, note=note):
            raise CommandError(f"No node had room within {timeout_s:g} s; the wish stands.")
        if refusals:
            raise CommandError(f"Refused: {refusals[0]}.")
        click.echo(f"grant {grant}: python cli.py apps run NAME --grant {grant} -- COMMAND", err=True)
        click.echo(talk.state.grants[str(grant)].node)


def _pool_of(name: str) -> str:
    try:
        return pool_id(name.removeprefix("pool-"))
    except ValueError as error:
        raise CommandError(f"{error}.") from None


@nodes.command("shutdown")
@click.argument("node", shell_complete=complete_nodes)
@no_wait_option
@timeout_option(60.0)
@platform_options
def shutdown_node(
    node: str, no_wait: bool, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Empty a node, move its apps elsewhere and take it away for good.

    \b
    Example:
      python cli.py nodes shutdown node-127.0.0.1_8083
    """
    from sdk.contract.requests import ShutdownNode

    settings = settings_of(bootstrap_servers, prefix)
    run(_take_away(settings, node, ShutdownNode(node), timeout_s=timeout_s, no_wait=no_wait))


@nodes.command("confirm-down")
@click.argument("node", shell_complete=complete_nodes)
@no_wait_option
@timeout_option(30.0)
@platform_options
def confirm_down(
    node: str, no_wait: bool, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Confirm that a silent node is dead: it is replaced although the brake holds.

    \b
    Example:
      python cli.py nodes confirm-down node-127.0.0.1_8083
    """
    from sdk.contract.requests import ConfirmNodeDown

    settings = settings_of(bootstrap_servers, prefix)
    run(_take_away(settings, node, ConfirmNodeDown(node), timeout_s=timeout_s, no_wait=no_wait))


async def _take_away(
    settings: Settings, node: str, request: Request, *, timeout_s: float, no_wait: bool
) -> None:
    from streams.asking import ANSWER_WITHIN_S, open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        check_known(talk.state, node)
        answer = await talk.ask(request, timeout_s=min(timeout_s, ANSWER_WITHIN_S))
        if no_wait:
            click.echo(f"{node}: admitted (event {answer.offset})")
            return
        await _wait_gone(talk, node, timeout_s)


async def _wait_gone(talk: Conversation, node: str, timeout_s: float) -> None:
    if not await talk.until(lambda: talk.state.nodes[node].status != "active", timeout_s=timeout_s):
        row = talk.state.nodes[node]
        left = sorted(talk.state.apps_of_node.get(node, ()))
        what = f"still has {', '.join(left)}" if row.draining and left else "is still there"
        raise CommandError(f"{node} {what} after {timeout_s:g} s; the wish stands.")
    row = talk.state.nodes[node]
    click.echo(f"{node} {coloured('left' if row.status == 'left' else 'down')}")
