"""`cli.py sensors enable|disable|limits`: whether the silence of sensors is judged, and by which limit. Shell."""

from __future__ import annotations

from typing import Any

import click

from streams.commands.options import parse_time, timeout_option
from streams.commands.shared import HelpfulGroup, output_option, platform_options, read, run, settings_of
from streams.commands.shared_devices import ANSWER_WITHIN_S, ask_for, device_of


@click.command("enable")
@click.argument("sensor")
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def enable(sensor: str, timeout_s: float, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Switch SENSOR on in the eyes of the platform: from now on its silence is judged, if it has a limit.

    \b
    Example:
      python cli.py sensors enable hall
    """
    _switch(sensor, timeout_s, bootstrap_servers, prefix, enabled=True)


@click.command("disable")
@click.argument("sensor")
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def disable(sensor: str, timeout_s: float, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Switch SENSOR off in the eyes of the platform: nobody judges its silence, and apps read it as stale.

    Its topic and its bindings stay, and what it writes can still be read.

    \b
    Example:
      python cli.py sensors disable hall
    """
    _switch(sensor, timeout_s, bootstrap_servers, prefix, enabled=False)


def _switch(
    sensor: str, timeout_s: float, bootstrap_servers: str | None, prefix: str | None, *, enabled: bool
) -> None:
    from sdk.contract.requests import EnableDevice

    name = device_of(sensor, "sensor")
    ask_for(settings_of(bootstrap_servers, prefix), EnableDevice(name, enabled=enabled), timeout_s)
    click.echo(f"{name} is {'enabled' if enabled else 'disabled'}.")


@click.group("limits", cls=HelpfulGroup)
def limits() -> None:
    r"""How long sensors of a type may be silent; a sensor's own limit (`sensors register --limit-ms`) goes before it.

    \b
    Examples:
      python cli.py sensors limits set thermometer 30s
      python cli.py sensors limits list
    """


class Limit(click.ParamType):
    """A time such as 500ms, 30s, 5m, 2h or 1d, in ms; `none` is 0."""

    name = "limit"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the time that a person wrote, ms."""
        if isinstance(value, int):
            return value
        ms = 0 if value == "none" else parse_time(value)
        if ms is None:
            self.fail(f"{value!r:.40} is no limit; write 30s, 5m, 2h, 1d, or none", param, ctx)
        return ms


@limits.command("set")
@click.argument("type_", metavar="TYPE")
@click.argument("limit", type=Limit(), metavar="TIME")
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def set_limit(
    type_: str, limit: int, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Call sensors of TYPE silent after TIME (1s to 1d); with `none` they may be silent as long as they like.

    \b
    Examples:
      python cli.py sensors limits set thermometer 30s
      python cli.py sensors limits set camera none
    """
    from sdk.contract.requests import LimitSensors
    from streams.render import duration

    ask_for(settings_of(bootstrap_servers, prefix), LimitSensors(type_, limit), timeout_s)
    words = f"are silent after {duration(limit)}" if limit else "may be silent as long as they like"
    click.echo(f"Sensors of type {type_} {words}, unless they have a limit of their own.")


@limits.command("list")
@output_option("table", "json")
@platform_options
def list_limits(output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""List the limits of types, and how many sensors each is about.

    \b
    Example:
      python cli.py sensors limits list
    """
    from streams.render import duration, table, to_json

    state = run(read(settings_of(bootstrap_servers, prefix))).state
    views: list[dict[str, Any]] = [
        {
            "type": type_,
            "silence_limit_ms": row.silence_limit_ms,
            "sensors": sum(
                it.device.type == type_ and not it.device.silence_limit_ms and it.device.kind == "sensor"
                for it in state.devices.values()
            ),
        }
        for type_, row in sorted(state.sensor_limits.items())
    ]
    if output == "json":
        click.echo(to_json(views))
    elif views:
        rows = [[it["type"], duration(it["silence_limit_ms"]), str(it["sensors"])] for it in views]
        click.echo(table(["type", "limit", "sensors"], rows))
    else:
        click.echo("No type has a limit; `python cli.py sensors limits set TYPE TIME` sets one.")
