"""`cli.py apps`: run, list, show, stop and restart applications and services. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.commands import NOT_FOUND, USAGE, CommandError
from streams.commands.nodes import no_wait_option, timeout_option
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
from streams.render import app_view, app_views, apps_table, clock, coloured, duration, to_json
from tables.views import app_status, is_app_alive

if TYPE_CHECKING:
    from sdk.contract.requests import Request
    from sdk.contract.specs import AppSpec
    from streams.asking import Conversation
    from streams.settings import Settings
    from tables.state import State

#: How long to wait for an app, s: 30 s to its first beat and room for one more copy.
RUN_WITHIN_S = 60.0


@click.group(cls=HelpfulGroup)
def apps() -> None:
    r"""Run, list, show, stop and restart applications.

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
@output_option("table", "json")
@platform_options
def show_app(app: str, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Show one app: its command, where it runs, how often it failed.

    \b
    Example:
      python cli.py apps show application-thermostat-1
    """
    reading = run(read(settings_of(bootstrap_servers, prefix)))
    warn_unwatched(reading)
    view = app_view(reading.state, reading.state.apps[find_app(reading.state, app)])
    if output == "json":
        click.echo(to_json(view))
        return
    click.echo(_app_lines(view, now_ms()))


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
        "why": view["reason"],
        "exit code": "" if view["exit_code"] is None else str(view["exit_code"]),
    }
    lines = [f"{view['app']}  {coloured(view['status'])}"]
    return "\n".join([*lines, *(f"  {name:<12}{value}" for name, value in fields.items() if value)])


def find_app(state: State, name: str) -> str:
    """The id of an app, which may be given without its prefix.

    Raises:
        CommandError: the log knows no such app.
    """
    for app in (name, f"application-{name}", f"service-{name}"):
        if app in state.apps:
            return app
    raise CommandError(f"There is no app {name}; `python cli.py apps list --all` lists them.", NOT_FOUND)


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
@click.option("--slots", type=click.IntRange(1, 1_000), default=1, show_default=True, help="Room it takes.")
@click.option("--grant", type=click.IntRange(1), help="Take the room that `nodes request` was granted.")
@click.option("--count", type=click.IntRange(1, 1_000), help="Run NAME-1 to NAME-N.")
@no_wait_option
@timeout_option(RUN_WITHIN_S)
@platform_options
def run_app(
    name: str,
    command: tuple[str, ...],
    env: tuple[str, ...],
    service: bool,
    on_failure: str,
    slots: int,
    grant: int | None,
    count: int | None,
    no_wait: bool,
    timeout_s: float,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Run COMMAND as application-NAME and wait for its first beat.

    An app that is known gets the new command from its next copy on; `apps restart` starts one.

    \b
    Examples:
      python cli.py apps run thermostat-1 -- python3 examples/thermostat/app.py
      python cli.py apps run load --count 8 -e RATE=5 -- python3 load.py
      python cli.py apps run deployer --service -- python3 deployer.py
    """
    specs = make_specs(
        name,
        command,
        env=env,
        kind="service" if service else "application",
        on_failure=on_failure,
        slots=slots,
        count=count,
    )
    settings = settings_of(bootstrap_servers, prefix)
    run(_run(settings, specs, grant=grant or 0, timeout_s=timeout_s, no_wait=no_wait))


def make_specs(
    name: str,
    command: tuple[str, ...],
    *,
    env: tuple[str, ...],
    kind: str,
    on_failure: str,
    slots: int,
    count: int | None,
) -> list[AppSpec]:
    """The specs that the arguments ask for.

    Raises:
        CommandError: something is not right; the message names it.
    """
    import msgspec

    from sdk.contract.ids import check_name
    from sdk.contract.specs import AppSpec, check_spec

    if not command:
        raise CommandError("What shall it run? Write `apps run NAME -- COMMAND ARGUMENTS`.", USAGE)
    pairs = [pair.partition("=") for pair in env]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise CommandError(f"--env {bad[0]} needs a value: --env {bad[0]}=VALUE.", USAGE)
    bare = name.removeprefix(f"{kind}-")
    names = [bare] if count is None else [f"{bare}-{number}" for number in range(1, count + 1)]
    wish = {
        "command": list(command),
        "env": {key: value for key, _, value in pairs},
        "on_failure": on_failure,
        "slots": slots,
    }
    try:
        specs = [
            msgspec.convert({**wish, "app": f"{kind}-{check_name(name, what=kind)}"}, AppSpec)
            for name in names
        ]
        for spec in specs:
            check_spec(spec)
    except ValueError as error:
        raise CommandError(f"{error}.", USAGE) from None
    return specs


async def _run(
    settings: Settings, specs: list[AppSpec], *, grant: int, timeout_s: float, no_wait: bool
) -> None:
    from sdk.contract.requests import RunApp
    from streams.asking import ANSWER_WITHIN_S, open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        ran = {spec.app for spec in specs if spec.app in talk.state.apps and _is_alive(talk.state, spec.app)}
        for spec in specs:
            answer = await talk.ask(RunApp(spec, grant), timeout_s=min(timeout_s, ANSWER_WITHIN_S))
            if spec.app in ran:
                click.echo(
                    f"{spec.app} runs already; the new command counts from its next copy on.", err=True
                )
            elif no_wait:
                click.echo(f"{spec.app}: admitted (event {answer.offset})", err=True)
        if not no_wait:
            await _wait_alive(talk, [spec.app for spec in specs], newer_than=-1, timeout_s=timeout_s)
        for spec in specs:
            click.echo(spec.app)


def _is_alive(state: State, app: str) -> bool:
    return is_app_alive(state, state.apps[app])


async def _wait_alive(talk: Conversation, names: list[str], *, newer_than: int, timeout_s: float) -> None:
    """Wait until each app has a copy that beats, made after `newer_than`, and say what happens meanwhile.

    Raises:
        CommandError: one was given up, or it took too long.
    """
    said: dict[str, str] = {}

    def settled() -> bool:
        for app in names:
            words = _progress_words(talk.state, app)
            if said.get(app) != words:
                said[app] = words
                click.echo(f"{app} {words}", err=True)
        return all(is_settled(talk.state, app, newer_than=newer_than) for app in names)

    done = await talk.until(settled, timeout_s=timeout_s)
    given_up = [app for app in names if talk.state.apps[app].gave_up]
    if given_up:
        raise CommandError(f"{', '.join(given_up)} failed again and again and was given up.")
    if not done:
        late = [app for app in names if not is_settled(talk.state, app, newer_than=newer_than)]
        raise CommandError(f"{', '.join(late)} did not come up within {timeout_s:g} s; the wish stands.")


def is_settled(state: State, app: str, *, newer_than: int) -> bool:
    """Whether an app runs in a copy placed after `newer_than`, or will not for now."""
    row = state.apps[app]
    return row.gave_up or not row.wanted or (row.generation > newer_than and is_app_alive(state, row))


def _progress_words(state: State, app: str) -> str:
    row = state.apps[app]
    status = app_status(state, row)
    if status in ("starting", "running"):
        return f"{coloured(status)} on {row.node}"
    return coloured(status) + (f": {row.pending_reason}" if row.pending_reason else "")


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
    run(_restart(settings_of(bootstrap_servers, prefix), app, timeout_s=timeout_s, no_wait=no_wait))


async def _restart(settings: Settings, name: str, *, timeout_s: float, no_wait: bool) -> None:
    from sdk.contract.requests import RestartApp
    from streams.asking import open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        app = find_app(talk.state, name)
        offset = await _ask(talk, RestartApp(app), app, timeout_s=timeout_s, quiet=not no_wait)
        if no_wait:
            return
        await _wait_alive(talk, [app], newer_than=offset, timeout_s=timeout_s)
        click.echo(app)


async def _ask(talk: Conversation, request: Request, app: str, *, timeout_s: float, quiet: bool) -> int:
    from streams.asking import ANSWER_WITHIN_S

    answer = await talk.ask(request, timeout_s=min(timeout_s, ANSWER_WITHIN_S))
    if not quiet:
        click.echo(f"{app}: admitted (event {answer.offset})")
    return answer.offset
