"""What the commands about sensors and those about controllers share. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.commands import NOT_FOUND, CommandError
from streams.commands.shared import read, run, warn_unwatched

if TYPE_CHECKING:
    from sdk.contract.devices import DeviceKind
    from sdk.contract.requests import Request
    from streams.settings import Settings
    from tables.rows import DeviceRow
    from tables.state import State

ANSWER_WITHIN_S = 15.0


def device_id(kind: DeviceKind, name: str) -> str:
    """The id of a device by its short name."""
    return name if name.startswith(f"{kind}-") else f"{kind}-{name}"


def app_id(name: str) -> str:
    """The id of an app by its short name."""
    return name if name.startswith(("application-", "service-")) else f"application-{name}"


def ask_for(settings: Settings, request: Request, timeout_s: float) -> None:
    """Ask, and wait until it is admitted."""
    from streams.asking import ask

    run(ask(settings.bootstrap, settings.prefix, request, timeout_s=timeout_s))


def find_device(state: State, kind: DeviceKind, name: str) -> DeviceRow:
    """The row of a device.

    Raises:
        CommandError: there is none.
    """
    full = device_id(kind, name)
    row = state.devices.get(full)
    if row is None:
        raise CommandError(f"No {kind} {full!r:.80}; `python cli.py {kind}s list` shows all.", NOT_FOUND)
    return row


def print_devices(settings: Settings, kind: DeviceKind, output: str) -> None:
    """List the devices of a kind, and which apps have them."""
    from streams.render import to_json
    from streams.render_devices import device_views, devices_table

    reading = run(read(settings))
    warn_unwatched(reading)
    views = device_views(reading.state, kind, settings.prefix)
    if output == "json":
        click.echo(to_json(views))
    elif output == "name":
        click.echo("\n".join(view["device"] for view in views))
    elif views:
        click.echo(devices_table(views))
    else:
        click.echo(f"There are no {kind}s; `python cli.py {kind}s register NAME` makes one known.")


def device_view(state: State, settings: Settings, kind: DeviceKind, name: str) -> dict[str, Any]:
    """One device as a mapping.

    Raises:
        CommandError: there is none.
    """
    from streams.render_devices import device_views

    full = find_device(state, kind, name).device.device
    return next(it for it in device_views(state, kind, settings.prefix) if it["device"] == full)


def print_view(view: dict[str, Any], output: str) -> None:
    """One device in lines, or as JSON."""
    from streams.render import to_json

    if output == "json":
        click.echo(to_json(view))
        return
    for key, value in view.items():
        click.echo(f"{key + ':':<18}{', '.join(map(str, value)) if isinstance(value, list) else value}")
