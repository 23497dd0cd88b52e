"""`cli.py sensors`: register sensors, give them to apps, and look at what they say. Shell."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from streams.commands import NOT_FOUND, CommandError
from streams.commands.judging import disable, enable, limits
from streams.commands.options import timeout_option
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
)
from streams.commands.shared_devices import ANSWER_WITHIN_S, ask_for, device_of, find_device
from streams.commands.showing_devices import device_view, print_devices, print_view


@click.group(cls=HelpfulGroup)
def sensors() -> None:
    r"""Register sensors, bind them to apps, read and simulate them.

    \b
    Examples:
      python cli.py sensors register hall --type thermometer --unit °C --location hall
      python cli.py sensors bind application-1 0 hall
      python cli.py sensors simulate hall --as thermometer
      python cli.py sensors tail hall
      python cli.py sensors limits set thermometer 30s
    """


@sensors.command("register")
@click.argument("sensor")
@click.option("--type", "type_", default="", metavar="NAME", help="What it is, such as thermometer.")
@click.option("--unit", default="", metavar="TEXT", help="What its values are in.")
@click.option("--location", default="", metavar="TEXT", help="Where it is.")
@click.option("--topic", default="", metavar="NAME", help="An existing topic that it writes to.")
@click.option("--limit-ms", type=int, default=0, metavar="MS", help="It is silent after this.")
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def register(
    sensor: str,
    type_: str,
    unit: str,
    location: str,
    topic: str,
    limit_ms: int,
    timeout_s: float,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Make SENSOR known; one that is known gets these properties.

    Without --topic it has a topic of its own, which is made if it does not exist. With a limit, its own or that of its
    type (`sensors limits`), its silence is found and shown, and a value older than that is stale.

    \b
    Examples:
      python cli.py sensors register hall --type thermometer --unit °C --location hall
      python cli.py sensors register yard --topic yard-temperature
    """
    from sdk.contract.devices import Device, device_topic
    from sdk.contract.requests import RegisterDevice
    from sdk.contract.topics import SENSOR_CONFIG
    from streams.topics import ensure_topic

    settings = settings_of(bootstrap_servers, prefix)
    device = Device(device_of(sensor, "sensor"), type_, unit, location, topic, limit_ms)
    ask_for(settings, RegisterDevice(device), timeout_s)
    name = device_topic(settings.prefix, device)
    made = "" if topic else ensure_topic(settings.bootstrap, name, SENSOR_CONFIG)
    click.echo(f"{device.device} is registered; it writes to {name}{made and f' ({made})'}.")


@sensors.command("list")
@output_option(*FORMATS)
@platform_options
def list_sensors(output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""List the sensors: whether they work (`unknown` without a limit to judge by), and which apps have them.

    \b
    Example:
      python cli.py sensors list
    """
    print_devices(settings_of(bootstrap_servers, prefix), "sensor", output)


@sensors.command("show")
@click.argument("sensor")
@output_option("table", "json")
@platform_options
def show(sensor: str, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Show one sensor: what it is, its topic, who has it.

    \b
    Example:
      python cli.py sensors show hall
    """
    settings = settings_of(bootstrap_servers, prefix)
    print_view(device_view(run(read(settings)).state, settings, "sensor", sensor), output)


@sensors.command("bind")
@click.argument("app", shell_complete=complete_apps)
@click.argument("index", type=int)
@click.argument("sensor")
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def bind(
    app: str, index: int, sensor: str, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Give APP the sensor SENSOR under INDEX; what it had there it has no longer.

    The binding is the app's: it travels with it, and may be made before the app runs.

    \b
    Example:
      python cli.py sensors bind application-1 0 hall
    """
    from sdk.contract.ids import complete_app
    from sdk.contract.requests import BindDevice

    name = complete_app(app)
    ask_for(
        settings_of(bootstrap_servers, prefix),
        BindDevice(name, index, device_of(sensor, "sensor")),
        timeout_s,
    )
    click.echo(f"{name} has {device_of(sensor, 'sensor')} at index {index}.")


@sensors.command("unbind")
@click.argument("app", shell_complete=complete_apps)
@click.argument("index", type=int)
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def unbind(app: str, index: int, timeout_s: float, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Take the sensor at INDEX from APP.

    \b
    Example:
      python cli.py sensors unbind application-1 0
    """
    from sdk.contract.ids import complete_app
    from sdk.contract.requests import UnbindDevice

    name = complete_app(app)
    ask_for(settings_of(bootstrap_servers, prefix), UnbindDevice(name, index), timeout_s)
    click.echo(f"{name} has no sensor at index {index} any more.")


@sensors.command("retire")
@click.argument("sensor")
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def retire(sensor: str, timeout_s: float, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Take SENSOR off the list; no app may have it. Its topic stays.

    \b
    Example:
      python cli.py sensors retire hall
    """
    from sdk.contract.requests import RetireDevice

    ask_for(settings_of(bootstrap_servers, prefix), RetireDevice(device_of(sensor, "sensor")), timeout_s)
    click.echo(f"{device_of(sensor, 'sensor')} is retired.")


@sensors.command("read")
@click.argument("sensor")
@output_option("table", "json")
@platform_options
def read_sensor(sensor: str, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Print the newest value of SENSOR.

    \b
    Example:
      python cli.py sensors read hall
    """
    from streams.render import to_json
    from streams.render_devices import last_point

    settings = settings_of(bootstrap_servers, prefix)
    row = find_device(run(read(settings)).state, sensor, "sensor")
    point = last_point(settings, row.device)
    if point is None:
        raise CommandError(f"{row.device.device} has no value yet.", NOT_FOUND)
    if output == "json":
        click.echo(to_json({"value": point.value, "at_ms": point.at_ms, "offset": point.offset}))
    else:
        age_s = max(0, now_ms() - point.at_ms) / 1000
        click.echo(f"{point.value} {row.device.unit}".rstrip() + f"   {age_s:.1f} s ago")


@sensors.command("tail")
@click.argument("sensor")
@click.option("-n", "count", type=click.IntRange(1), help="End after so many values.")
@click.option("--since-s", type=click.FloatRange(0), metavar="SECONDS", help="Begin so long ago.")
@platform_options
def tail(
    sensor: str, count: int | None, since_s: float | None, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Print the values of SENSOR as they come, until Ctrl-C.

    \b
    Examples:
      python cli.py sensors tail hall
      python cli.py sensors tail hall -n 10 --since-s 3600
    """
    from streams.render_devices import open_stream

    settings = settings_of(bootstrap_servers, prefix)
    row = find_device(run(read(settings)).state, sensor, "sensor")
    with (
        contextlib.suppress(KeyboardInterrupt),
        open_stream(settings, row.device, n=count, since=since_s) as points,
    ):
        for point in points:
            click.echo(f"{point.offset:>10}  {point.value}")


@sensors.command("simulate")
@click.argument("sensor")
@click.option(
    "--as", "kind", type=click.Choice(["thermometer", "camera"]), default="thermometer", show_default=True
)
@click.option(
    "--every", "every_s", type=click.FloatRange(0.001), default=1.0, show_default=True, help="Seconds."
)
@click.option("-n", "count", type=click.IntRange(1), help="End after so many times.")
@click.option("--seed", type=int, default=0, help="Of what it makes up.")
@platform_options
def simulate_sensor(
    sensor: str,
    kind: Any,
    every_s: float,
    count: int | None,
    seed: int,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Write to the topic of SENSOR what a real one would, until Ctrl-C.

    A thermometer writes a temperature each time; a camera is quiet and then writes a burst of frames.

    \b
    Examples:
      python cli.py sensors simulate hall --as thermometer --every 1
      python cli.py sensors simulate door --as camera --every 0.2 -n 100
    """
    from sdk.contract.devices import device_topic
    from streams.simulated_sensors import simulate

    settings = settings_of(bootstrap_servers, prefix)
    row = find_device(run(read(settings)).state, sensor, "sensor")
    topic = device_topic(settings.prefix, row.device)
    with contextlib.suppress(KeyboardInterrupt):
        written = run(simulate(settings.bootstrap, topic, kind, every_s=every_s, count=count, seed=seed))
        click.echo(f"{written} values written to {topic}.")


for command in (enable, disable, limits):
    sensors.add_command(command)
