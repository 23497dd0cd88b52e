"""`cli.py services`: apply, list, show and restart services. Shell.

A service is an app of kind `service`; these commands are those of `apps` for services alone. A plain file of names
makes services that are watched and not run.
"""

from __future__ import annotations

from pathlib import Path

import click

from streams.commands import CommandError
from streams.commands.apps import restart, show
from streams.commands.options import no_wait_option, timeout_option
from streams.commands.shared import (
    FORMATS,
    HelpfulGroup,
    complete_services,
    now_ms,
    output_option,
    platform_options,
    read,
    run,
    settings_of,
    warn_unwatched,
)
from streams.commands.shared_apps import RUN_WITHIN_S, find_app
from streams.render import apps_table, service_views, to_json


@click.group(cls=HelpfulGroup)
def services() -> None:
    r"""Apply, list, show and restart services.

    \b
    Examples:
      python cli.py services apply services.toml --dry-run
      python cli.py services list
      python cli.py services restart scheduler
    """


@services.command("apply")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would start, change or stop, and why.")
@timeout_option(RUN_WITHIN_S)
@platform_options
def apply_services(
    file: Path, dry_run: bool, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Make the services what FILE says; applied twice, it changes nothing.

    FILE is one as for `apps run`, with `kind = "service"` in every table. What changed is rolled out copy by copy.

    Or it is plain text, one service name a line: those are watched and announced, not restarted, by their own beats
    and by the topic of that name (or of the second word in the line) if they still have the original heartbeat client.

    \b
    Examples:
      python cli.py services apply services.toml --dry-run
      python cli.py services apply services.toml
      python cli.py services apply "service names.txt"
    """
    from streams.commands.applying import apply_specs
    from streams.commands.watching import apply_names
    from streams.names_files import is_names_file, load_names
    from streams.spec_files import load_specs

    if is_names_file(file):
        names = load_names(file)
        settings = settings_of(bootstrap_servers, prefix)
        run(apply_names(settings, names, file=file.name, dry_run=dry_run, timeout_s=timeout_s))
        return
    wanted = load_specs(file)
    others = [spec.app for spec in wanted.specs if not spec.app.startswith("service-")]
    if others:
        raise CommandError(
            f'{file.name}: {others[0]} is no service; write kind = "service", or use `apps run {file.name}`.'
        )
    settings = settings_of(bootstrap_servers, prefix)
    run(apply_specs(settings, wanted, dry_run=dry_run, timeout_s=timeout_s))


@services.command("list")
@click.option("-a", "--all", "stopped", is_flag=True, help="Also services that were stopped.")
@output_option(*FORMATS)
@platform_options
def list_services(stopped: bool, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""List the services, where they run and how often they failed; then those that are watched only.

    Workers, provisioners (by the name of their pool) and programs that beat by themselves are listed too; what starts
    them again is whoever started them.

    \b
    Example:
      python cli.py services list
    """
    from streams.commands.watching import watched_table, watched_views

    reading = run(read(settings_of(bootstrap_servers, prefix)))
    warn_unwatched(reading)
    watched = watched_views(reading.state)
    apart = {view["app"] for view in watched}
    views = [view for view in service_views(reading.state, stopped=stopped) if view["app"] not in apart]
    if output == "json":
        click.echo(to_json(views + watched))
    elif output == "name":
        click.echo("\n".join(view["app"] for view in views + watched))
    elif views or watched:
        tables = [apps_table(views, now_ms())] if views else []
        click.echo("\n\n".join([*tables, *([watched_table(watched, now_ms())] if watched else [])]))
    else:
        click.echo("There are no services; `python cli.py services apply FILE` starts those in a file.")


@services.command("show")
@click.argument("service", shell_complete=complete_services)
@output_option("table", "json")
@platform_options
def show_service(service: str, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Show one service: its command, where it runs, how often it failed.

    \b
    Example:
      python cli.py services show scheduler
    """
    from streams.commands.watching import watched_lines, watched_view

    reading = run(read(settings_of(bootstrap_servers, prefix)))
    warn_unwatched(reading)
    watched = reading.state.bridged & {service, f"service-{service}"}
    if watched:
        view = watched_view(reading.state.sources[watched.pop()])
        click.echo(to_json(view) if output == "json" else watched_lines(view, now_ms()))
        return
    show(reading.state, find_app(reading.state, service, kinds=("service",)), output)


@services.command("restart")
@click.argument("service", shell_complete=complete_services)
@no_wait_option
@timeout_option(RUN_WITHIN_S)
@platform_options
def restart_service(
    service: str, no_wait: bool, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Stop the copy of a service and start another from its spec.

    \b
    Example:
      python cli.py services restart scheduler
    """
    settings = settings_of(bootstrap_servers, prefix)
    run(restart(settings, service, kinds=("service",), timeout_s=timeout_s, no_wait=no_wait))
