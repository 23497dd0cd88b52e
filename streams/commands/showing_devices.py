"""Devices of any kind as the command line shows them. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.commands.shared import read, run, warn_unwatched
from streams.commands.shared_devices import find_device

if TYPE_CHECKING:
    from sdk.contract.devices import DeviceKind
    from streams.settings import Settings
    from tables.state import State


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

    full = find_device(state, name, kind).device.device
    return next(it for it in device_views(state, kind, settings.prefix) if it["device"] == full)


def print_view(view: dict[str, Any], output: str) -> None:
    """One device in lines, or as JSON."""
    from streams.render import to_json

    if output == "json":
        click.echo(to_json(view))
        return
    for key, value in view.items():
        click.echo(f"{key + ':':<18}{', '.join(map(str, value)) if isinstance(value, list) else value}")
