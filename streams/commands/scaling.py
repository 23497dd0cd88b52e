"""`cli.py apps scale` and `cli.py apps logs`. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from streams.commands import NOT_FOUND, CommandError
from streams.commands.options import timeout_option
from streams.commands.shared import HelpfulCommand, complete_apps, platform_options, read, run, settings_of
from streams.commands.shared_apps import KINDS, RUN_WITHIN_S, find_app
from streams.spec_files import COUNT_MAX, SpecFile
from streams.spec_plan import copies_of, plan_specs

if TYPE_CHECKING:
    from streams.settings import Settings
    from tables.state import State

#: How long an agent may take to hand over the end of a log.
LOG_WITHIN_S = 5.0


@click.command("scale", cls=HelpfulCommand)
@click.argument("name")
@click.argument("count", type=click.IntRange(0, COUNT_MAX))
@click.option("--dry-run", is_flag=True, help="Only say what would start or stop.")
@timeout_option(RUN_WITHIN_S)
@platform_options
def scale_app(
    name: str, count: int, dry_run: bool, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Run COUNT copies of an app, NAME-1 to NAME-COUNT, with the spec of the first one there is.

    \b
    Examples:
      python cli.py apps scale load 8
      python cli.py apps scale load 2 --dry-run
    """
    run(_scale(settings_of(bootstrap_servers, prefix), name, count, dry_run=dry_run, timeout_s=timeout_s))


async def _scale(settings: Settings, name: str, count: int, *, dry_run: bool, timeout_s: float) -> None:
    from streams.asking import open_conversation
    from streams.commands.applying import carry_out

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        wanted = scaled(talk.state, name, count)
        # Copies that are there keep the specs they have, whatever the first one's is.
        steps = [step for step in plan_specs(talk.state, wanted) if step.action != "change"]
        await carry_out(talk, steps, dry_run=dry_run, timeout_s=timeout_s)


def scaled(state: State, name: str, count: int) -> SpecFile:
    """The copies that an app shall have.

    Raises:
        CommandError: the log knows no copy of it, or its copies could not be told apart.
    """
    bases = (
        [name]
        if name.startswith(tuple(f"{kind}-" for kind in KINDS))
        else [f"{kind}-{name}" for kind in KINDS]
    )
    for base in bases:
        copies = copies_of(state, base)
        if copies:
            spec = state.apps[copies[0]].spec
            if spec.beats and count > 1:
                raise CommandError(
                    f"{copies[0]} beats into the topic {spec.beats}, in which copies cannot be told apart; "
                    "allowed: a count of at most 1."
                )
            specs = [replace(spec, app=f"{base}-{number}") for number in range(1, count + 1)]
            return SpecFile(specs, {base: count})
    raise CommandError(
        f"There is no app {name}-1 to copy; `python cli.py apps run {name} --count N -- COMMAND` runs the first.",
        NOT_FOUND,
    )


@click.command("logs", cls=HelpfulCommand)
@click.argument("app", shell_complete=complete_apps)
@click.option("--tail", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Lines.")
@platform_options
def app_logs(app: str, tail: int, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Print the last lines that an app wrote, as the agent of its node has them.

    \b
    Example:
      python cli.py apps logs thermostat-1 --tail 20
    """
    state = run(read(settings_of(bootstrap_servers, prefix))).state
    name = find_app(state, app)
    node = state.nodes.get(state.apps[name].node)
    if node is None:
        raise CommandError(f"{name} has not run anywhere yet.", NOT_FOUND)
    click.echo(fetch_log(node.ip, node.port, name, tail), nl=False)


def fetch_log(ip: str, port: int, app: str, tail: int) -> bytes:
    """The last lines of an app's log from the agent that listens there.

    Raises:
        CommandError: no agent answers, or it has no such log.
    """
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import quote

    connection = HTTPConnection(ip, port, timeout=LOG_WITHIN_S)
    try:
        connection.request("GET", f"/logs/{quote(app)}?tail={tail}")
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, HTTPException) as error:
        raise CommandError(f"The agent at {ip}:{port} does not answer ({error}).") from None
    finally:
        connection.close()
    if answer.status != 200:  # noqa: PLR2004  # OK
        raise CommandError(f"The agent at {ip}:{port} has no log of {app}.", NOT_FOUND)
    return text
