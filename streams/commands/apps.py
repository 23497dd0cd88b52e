"""`cli.py apps`: run, list, show, stop, restart, move and look into applications and services. Shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands import NOT_FOUND, USAGE, CommandError
from streams.commands.app_specs import make_specs, placing_options
from streams.commands.executing import exec_app
from streams.commands.options import no_wait_option, timeout_option
from streams.commands.scaling import app_logs, scale_app
from streams.commands.shared import (
    FORMATS,
    HelpfulGroup,
    complete_apps,
    now_ms,
    output_option,
    platform_options,
    read,
    run,
    settings_of,
    warn_unwatched,
    watch,
)
from streams.commands.shared_apps import KINDS, RUN_WITHIN_S, find_app, is_alive, wait_alive
from streams.render import app_view, app_views, apps_table, clock, coloured, duration, to_json
from tables.views import app_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdk.contract.requests import Request
    from sdk.contract.specs import AppSpec
    from streams.asking import Conversation
    from streams.settings import Settings
    from tables.state import State


@click.group(cls=HelpfulGroup)
def apps() -> None:
    r"""Run, list, show, stop, restart and move applications.

    \b
    Examples:
      python cli.py apps run thermostat-1 -- python3 examples/thermostat/app.py
      python cli.py apps list --watch
      python cli.py apps stop application-thermostat-1
    """


@apps.command("list")
@click.option("-a", "--all", "stopped", is_flag=True, help="Also apps that were stopped.")
@click.option("--watch", "watched", is_flag=True, help="Look again each second.")
@output_option(*FORMATS)
@platform_options
def list_apps(
    stopped: bool, watched: bool, output: str, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""List the apps and services, where they run and how often they failed.

    \b
    Examples:
      python cli.py apps list
      python cli.py apps list -o name
    """
    settings = settings_of(bootstrap_servers, prefix)

    async def look() -> str:
        reading = await read(settings)
        warn_unwatched(reading)
        views = app_views(reading.state, stopped=stopped)
        if output == "json":
            return to_json(views)
        if output == "name":
            return "\n".join(view["app"] for view in views)
        if not views:
            return "There are no apps; `python cli.py apps run NAME -- COMMAND` runs one."
        return apps_table(views, now_ms())

    run(watch(look)) if watched else click.echo(run(look()))


@apps.command("show")
@click.argument("app", shell_complete=complete_apps)
@click.option("--why", "why", is_flag=True, help="Also why it is where it is: every node, as it stood then.")
@output_option("table", "json")
@platform_options
def show_app(app: str, why: bool, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Show one app: its command, where it runs, how often it failed.

    \b
    Examples:
      python cli.py apps show application-thermostat-1
      python cli.py apps show application-thermostat-1 --why
    """
    from streams.commands.app_why import explain, why_document, why_text

    settings = settings_of(bootstrap_servers, prefix)
    reading = run(read(settings))
    warn_unwatched(reading)
    row = reading.state.apps[find_app(reading.state, app)]
    if why and not row.generation:
        raise CommandError(f"{row.app} was never placed; `apps show` says what it waits for.", NOT_FOUND)
    reasons = run(explain(settings, row.generation)) if why else None
    if reasons is None:
        show(reading.state, row.app, output)
    elif output == "json":
        click.echo(to_json({**app_view(reading.state, row), "placement": why_document(reasons)}))
    else:
        show(reading.state, row.app, output)
        click.echo(f"\n{why_text(reasons)}")


def show(state: State, app: str, output: str) -> None:
    """Print one app."""
    view = app_view(state, state.apps[app])
    click.echo(to_json(view) if output == "json" else _app_lines(view, now_ms()))


def _app_lines(view: dict[str, Any], now: int) -> str:
    import shlex

    fields = {
        "since": f"{clock(view['since_ms'], now_ms=now)} ({duration(now - view['since_ms'])})",
        "command": shlex.join(view["command"]),
        "node": view["node"] or "-",
        "generation": f"{view['generation']}  (python cli.py events show {view['generation']})"
        if view["generation"]
        else "-",
        "failures": str(view["failure_count"]),
        "needs": view["needs"],
        "wishes": view["wishes"],
        "services": ", ".join(view["needs_services"]),
        "restart": "" if view["restart"] == "always" else view["restart"],
        "beats": view["watched"],
        "limits": view["limits"] + (f"  ({view['limits_by']})" if view["limits_by"] else ""),
        "moving to": view["moving_to"],
        "why": view["reason"],
        "how": view["detail"],
        "fell out": ", ".join(f"{word} {count}" for word, count in view["fell_out"].items()),
        "exit code": "" if view["exit_code"] is None else str(view["exit_code"]),
    }
    lines = [f"{view['app']}  {coloured(view['status'])}"]
    return "\n".join([*lines, *(f"  {name:<12}{value}" for name, value in fields.items() if value)])


# --- run -----------------------------------------------------------------------------------------------


@apps.command("run", context_settings={"ignore_unknown_options": False})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--env", "-e", "env", multiple=True, metavar="K=V", help="Environment; may be given often.")
@click.option("--service", is_flag=True, help="It is a service: service-NAME.")
@click.option(
    "--on-failure",
    type=click.Choice(["other-node", "same-node"]),
    default="other-node",
    show_default=True,
    help="Where it comes back after a failure of its own.",
)
@placing_options
@click.option("--grant", type=click.IntRange(1), help="Take the room that `nodes request` was granted.")
@click.option("--count", type=click.IntRange(1, 1_000), help="Run NAME-1 to NAME-N.")
@click.option("--dry-run", is_flag=True, help="Of a file: only say what would start, change or stop.")
@no_wait_option
@timeout_option(RUN_WITHIN_S)
@platform_options
def run_app(
    name: str,
    command: tuple[str, ...],
    env: tuple[str, ...],
    service: bool,
    constraints: tuple[str, ...],
    grant: int | None,
    count: int | None,
    dry_run: bool,
    no_wait: bool,
    timeout_s: float,
    bootstrap_servers: str | None,
    prefix: str | None,
    **wish: str | int | bool | tuple[str, ...],
) -> None:
    r"""Run COMMAND as application-NAME and wait for its first beat, or make the apps what a file says.

    An app that is known gets the new command from its next copy on; `apps restart` starts one. Of a file, NAME.toml,
    what changed is rolled out copy by copy, each only when the one before beats; applied twice, it changes nothing.

    \b
    Examples:
      python cli.py apps run thermostat-1 -- python3 examples/thermostat/app.py
      python cli.py apps run load --count 8 -e RATE=5 -- python3 load.py
      python cli.py apps run web --count 3 --group web --cpu 50 --memory 200 -- python3 web.py
      python cli.py apps run report --constraint pool=away --priority 20 -- python3 report.py
      python cli.py apps run deployer --service -- python3 deployer.py
      python cli.py apps run web --needs-service deployer -- python3 web.py
      python cli.py apps run import --restart on-failure -- python3 import.py
      python cli.py apps run examples/apps.toml --dry-run
    """
    settings = settings_of(bootstrap_servers, prefix)
    if name.endswith(".toml") and not command:
        from streams.commands.applying import apply_specs
        from streams.spec_files import load_specs

        wanted = load_specs(Path(name))
        run(apply_specs(settings, wanted, dry_run=dry_run, timeout_s=timeout_s))
        return
    if dry_run:
        raise CommandError("--dry-run is for files: apps run NAME.toml --dry-run.", USAGE)
    specs = make_specs(
        name,
        command,
        kind="service" if service else "application",
        count=count,
        env=env,
        constraints=constraints,
        wish=wish,
    )
    run(_run(settings, specs, grant=grant or 0, timeout_s=timeout_s, no_wait=no_wait))


async def _run(
    settings: Settings, specs: list[AppSpec], *, grant: int, timeout_s: float, no_wait: bool
) -> None:
    from sdk.contract.requests import RunApp
    from streams.asking import ANSWER_WITHIN_S, open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        ran = {spec.app for spec in specs if spec.app in talk.state.apps and is_alive(talk.state, spec.app)}
        for spec in specs:
            answer = await talk.ask(RunApp(spec, grant), timeout_s=min(timeout_s, ANSWER_WITHIN_S))
            if spec.app in ran:
                click.echo(
                    f"{spec.app} runs already; the new command counts from its next copy on.", err=True
                )
            elif no_wait:
                click.echo(f"{spec.app}: admitted (event {answer.offset})", err=True)
        if not no_wait:
            await wait_alive(talk, [spec.app for spec in specs], newer_than=-1, timeout_s=timeout_s)
        for spec in specs:
            click.echo(spec.app)


# --- stop and restart ----------------------------------------------------------------------------------


@apps.command("stop")
@click.argument("app", shell_complete=complete_apps)
@no_wait_option
@timeout_option(30.0)
@platform_options
def stop_app(
    app: str, no_wait: bool, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Stop an app; it does not come back until `apps restart` or `apps run`.

    \b
    Example:
      python cli.py apps stop application-thermostat-1
    """
    run(_stop(settings_of(bootstrap_servers, prefix), app, timeout_s=timeout_s, no_wait=no_wait))


async def _stop(settings: Settings, name: str, *, timeout_s: float, no_wait: bool) -> None:
    from sdk.contract.requests import StopApp
    from streams.asking import open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        app = find_app(talk.state, name)
        await _ask(talk, StopApp(app), app, timeout_s=timeout_s, quiet=not no_wait)
        if no_wait:
            return
        if not await talk.until(
            lambda: app_status(talk.state, talk.state.apps[app]) == "stopped", timeout_s=timeout_s
        ):
            raise CommandError(f"{app} has not stopped within {timeout_s:g} s; the wish stands.")
        click.echo(f"{app} stopped")


@apps.command("restart")
@click.argument("app", shell_complete=complete_apps)
@no_wait_option
@timeout_option(RUN_WITHIN_S)
@platform_options
def restart_app(
    app: str, no_wait: bool, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Stop the copy of an app and start another; also starts one that was stopped or given up.

    \b
    Example:
      python cli.py apps restart application-thermostat-1
    """
    run(restart(settings_of(bootstrap_servers, prefix), app, timeout_s=timeout_s, no_wait=no_wait))


async def restart(
    settings: Settings, name: str, *, kinds: Sequence[str] = KINDS, timeout_s: float, no_wait: bool
) -> None:
    """Stop the copy of an app of these kinds, start another and wait for it."""
    from sdk.contract.requests import RestartApp
    from streams.asking import open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        app = find_app(talk.state, name, kinds=kinds)
        offset = await _ask(talk, RestartApp(app), app, timeout_s=timeout_s, quiet=not no_wait)
        if no_wait:
            return
        await wait_alive(talk, [app], newer_than=offset, timeout_s=timeout_s)
        click.echo(app)


@apps.command("move")
@click.argument("app", shell_complete=complete_apps)
@click.option("--to", "node", default="", metavar="NODE", help="The node; any other if not given.")
@no_wait_option
@timeout_option(RUN_WITHIN_S)
@platform_options
def move_app(
    app: str, node: str, no_wait: bool, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Bring an app to another node: a second copy is made ready there before the one here stops.

    \b
    Examples:
      python cli.py apps move application-thermostat-1
      python cli.py apps move thermostat-1 --to node-127.0.0.1_8084
    """
    settings = settings_of(bootstrap_servers, prefix)
    run(_move(settings, app, node, timeout_s=timeout_s, no_wait=no_wait))


async def _move(settings: Settings, name: str, node: str, *, timeout_s: float, no_wait: bool) -> None:
    from sdk.contract.requests import MoveApp
    from streams.asking import open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        app = find_app(talk.state, name)
        offset = await _ask(talk, MoveApp(app, node), app, timeout_s=timeout_s, quiet=not no_wait)
        if no_wait:
            return
        done = await talk.until(lambda: has_moved(talk.state, app, after=offset), timeout_s=timeout_s)
        row = talk.state.apps[app]
        if row.generation <= offset:
            why = f": {row.pending_reason}" if row.pending_reason else ""
            ending = f"has not moved within {timeout_s:g} s; the wish stands" if not done else "has not moved"
            raise CommandError(f"{app} {ending}{why}.")
        click.echo(f"{app} {coloured(app_status(talk.state, row))} on {row.node}")


def has_moved(state: State, app: str, *, after: int) -> bool:
    """Whether an app runs in a copy placed after an offset, or nobody tries to move it any more."""
    row = state.apps[app]
    return row.generation > after or not row.moving


async def _ask(talk: Conversation, request: Request, app: str, *, timeout_s: float, quiet: bool) -> int:
    from streams.asking import ANSWER_WITHIN_S

    answer = await talk.ask(request, timeout_s=min(timeout_s, ANSWER_WITHIN_S))
    if not quiet:
        click.echo(f"{app}: admitted (event {answer.offset})")
    return answer.offset


apps.add_command(scale_app)
apps.add_command(app_logs)
apps.add_command(exec_app)
