"""`cli.py services`: apply, list, show and restart services. Shell.

A service is an app of kind `service`; these commands are those of `apps` for services alone.
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

    \b
    Examples:
      python cli.py services apply services.toml --dry-run
      python cli.py services apply services.toml
    """
    from streams.commands.applying import apply_specs
    from streams.spec_files import load_specs

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
    r"""List the services, where they run and how often they failed.

    Workers, provisioners (by the name of their pool) and programs that beat by themselves are listed too; what starts
    them again is whoever started them.

    \b
    Example:
      python cli.py services list
    """
    reading = run(read(settings_of(bootstrap_servers, prefix)))
    warn_unwatched(reading)
    views = service_views(reading.state, stopped=stopped)
    if output == "json":
        click.echo(to_json(views))
    elif output == "name":
        click.echo("\n".join(view["app"] for view in views))
    elif views:
        click.echo(apps_table(views, now_ms()))
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
    reading = run(read(settings_of(bootstrap_servers, prefix)))
    warn_unwatched(reading)
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
