"""`cli.py nodes cordon|uncordon|drain`: whether a node takes apps, and emptying it. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.commands import CommandError
from streams.commands.options import check_known, no_wait_option, timeout_option
from streams.commands.shared import complete_nodes, platform_options, run, settings_of
from streams.render import coloured
from tables.fold_nodes import is_empty
from tables.state import holds_slot
from tables.views import node_status

if TYPE_CHECKING:
    from sdk.contract.requests import Request
    from streams.settings import Settings
    from tables.state import State


@click.command("cordon")
@click.argument("node", shell_complete=complete_nodes)
@platform_options
def cordon_node(node: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Put no more apps on a node; those that run there stay.

    \b
    Example:
      python cli.py nodes cordon node-127.0.0.1_8083
    """
    from sdk.contract.requests import CordonNode

    run(_set_standing(settings_of(bootstrap_servers, prefix), node, CordonNode(node)))


@click.command("uncordon")
@click.argument("node", shell_complete=complete_nodes)
@platform_options
def uncordon_node(node: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Let a node take apps again; also ends its quarantine.

    \b
    Example:
      python cli.py nodes uncordon node-127.0.0.1_8083
    """
    from sdk.contract.requests import UncordonNode

    run(_set_standing(settings_of(bootstrap_servers, prefix), node, UncordonNode(node)))


async def _set_standing(settings: Settings, node: str, request: Request) -> None:
    from streams.asking import ANSWER_WITHIN_S, open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        check_known(talk.state, node)
        answer = await talk.ask(request, timeout_s=ANSWER_WITHIN_S)
        click.echo(
            f"{node} {coloured(node_status(talk.state, talk.state.nodes[node]))} (event {answer.offset})"
        )


@click.command("drain")
@click.argument("node", shell_complete=complete_nodes)
@click.option("--force", is_flag=True, help="Stop its apps first instead of making them ready elsewhere.")
@no_wait_option
@timeout_option(3_600.0)
@platform_options
def drain_node(
    node: str,
    force: bool,
    no_wait: bool,
    timeout_s: float,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Empty a node: its apps move one by one, each ready elsewhere before it stops here.

    The node takes no more apps and stays; `nodes uncordon` lets it take apps again, `nodes shutdown` takes it away.
    Apps that could not be made ready within the policy's `drain_within_ms` (1 h) are stopped and started elsewhere.

    \b
    Examples:
      python cli.py nodes drain node-127.0.0.1_8083
      python cli.py nodes drain node-127.0.0.1_8083 --force
    """
    settings = settings_of(bootstrap_servers, prefix)
    run(_drain(settings, node, force=force, timeout_s=timeout_s, no_wait=no_wait))


async def _drain(settings: Settings, node: str, *, force: bool, timeout_s: float, no_wait: bool) -> None:
    from sdk.contract.requests import DrainNode
    from streams.asking import ANSWER_WITHIN_S, open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        check_known(talk.state, node)
        answer = await talk.ask(DrainNode(node, force), timeout_s=min(timeout_s, ANSWER_WITHIN_S))
        if no_wait:
            click.echo(f"{node}: admitted (event {answer.offset})")
            return
        said = ""

        def empty() -> bool:
            nonlocal said
            words = drain_words(talk.state, node)
            if words != said:
                said = words
                click.echo(f"{node} {words}", err=True)
            row = talk.state.nodes[node]
            return row.status != "active" or not row.emptying or is_empty(talk.state, row)

        done = await talk.until(empty, timeout_s=timeout_s)
        if not done:
            raise CommandError(f"{node} is not empty after {timeout_s:g} s; the wish stands.")
        click.echo(f"{node} {coloured(node_status(talk.state, talk.state.nodes[node]))}")


def drain_words(state: State, node: str) -> str:
    """What is left on a node that is drained, and why."""
    row = state.nodes[node]
    apps = (state.apps[app] for app in sorted(state.apps_of_node.get(node, ())))
    left = [app for app in apps if app.node == node and app.lineage == row.lineage and holds_slot(app)]
    words = [f"{app.app} ({app.pending_reason})" if app.pending_reason else app.app for app in left]
    return f"still has {', '.join(words)}" if words else "is empty"
