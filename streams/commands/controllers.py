"""`cli.py controllers`: register controllers, give them to apps, set them and see what they did. Shell."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from streams.commands import CANNOT_REACH_KAFKA, FAILED, CommandError
from streams.commands.options import timeout_option
from streams.commands.shared import (
    FORMATS,
    HelpfulGroup,
    complete_apps,
    output_option,
    platform_options,
    read,
    run,
    settings_of,
)
from streams.commands.shared_devices import ANSWER_WITHIN_S, ask_for, device_of, find_device
from streams.commands.showing_devices import device_view, print_devices, print_view

if TYPE_CHECKING:
    from tables.state import State

#: How long a command may wait for its device if nothing else is said.
SET_WITHIN_S = 30.0


@click.group(cls=HelpfulGroup)
def controllers() -> None:
    r"""Register controllers, bind them to apps, set and simulate them.

    \b
    Examples:
      python cli.py controllers register lamp --type lamp --location hall
      python cli.py controllers bind application-1 0 lamp
      python cli.py controllers simulate lamp
      python cli.py controllers set lamp '{"on": true}'
    """


@controllers.command("register")
@click.argument("controller")
@click.option("--type", "type_", default="", metavar="NAME", help="What it is, such as lamp.")
@click.option("--unit", default="", metavar="TEXT", help="What its values are in.")
@click.option("--location", default="", metavar="TEXT", help="Where it is.")
@click.option("--topic", default="", metavar="NAME", help="An existing compacted topic that it uses.")
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def register(
    controller: str,
    type_: str,
    unit: str,
    location: str,
    topic: str,
    timeout_s: float,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Make CONTROLLER known; one that is known gets these properties.

    Without --topic it has a topic of its own, which is made if it does not exist.

    \b
    Examples:
      python cli.py controllers register lamp --type lamp --location hall
      python cli.py controllers register valve --topic valve-1
    """
    from sdk.contract.devices import Device, device_topic
    from sdk.contract.requests import RegisterDevice
    from streams.controller_topics import ensure_controller_topic, topic_fault

    settings = settings_of(bootstrap_servers, prefix)
    device = Device(device_of(controller, "controller"), type_, unit, location, topic)
    if topic and (fault := topic_fault(settings.bootstrap, topic)):
        raise CommandError(f"{fault[:1].upper()}{fault[1:]}.", FAILED)
    ask_for(settings, RegisterDevice(device), timeout_s)
    name = device_topic(settings.prefix, device)
    made = "" if topic else ensure_controller_topic(settings.bootstrap, name)
    click.echo(f"{device.device} is registered; its topic is {name}{made and f' ({made})'}.")


@controllers.command("list")
@output_option(*FORMATS)
@platform_options
def list_controllers(output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""List the controllers and which apps have them.

    \b
    Example:
      python cli.py controllers list
    """
    print_devices(settings_of(bootstrap_servers, prefix), "controller", output)


@controllers.command("show")
@click.argument("controller")
@output_option("table", "json")
@platform_options
def show(controller: str, output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Show one controller: what it is, who has it, what is desired of it and what it reported.

    \b
    Example:
      python cli.py controllers show lamp
    """
    settings = settings_of(bootstrap_servers, prefix)
    state = run(read(settings)).state
    view = device_view(state, settings, "controller", controller)
    print_view(view | _last_command(state, view["device"]), output)


@controllers.command("bind")
@click.argument("app", shell_complete=complete_apps)
@click.argument("index", type=int)
@click.argument("controller")
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def bind(
    app: str, index: int, controller: str, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Give APP the controller CONTROLLER under INDEX; what it had there it has no longer.

    The binding is the app's: it travels with it, and may be made before the app runs.

    \b
    Example:
      python cli.py controllers bind application-1 0 lamp
    """
    from sdk.contract.ids import complete_app
    from sdk.contract.requests import BindDevice

    name, device = complete_app(app), device_of(controller, "controller")
    ask_for(settings_of(bootstrap_servers, prefix), BindDevice(name, index, device), timeout_s)
    click.echo(f"{name} has {device} at index {index}.")


@controllers.command("unbind")
@click.argument("app", shell_complete=complete_apps)
@click.argument("index", type=int)
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def unbind(app: str, index: int, timeout_s: float, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Take the controller at INDEX from APP.

    \b
    Example:
      python cli.py controllers unbind application-1 0
    """
    from sdk.contract.ids import complete_app
    from sdk.contract.requests import UnbindDevice

    name = complete_app(app)
    ask_for(settings_of(bootstrap_servers, prefix), UnbindDevice(name, index, "controller"), timeout_s)
    click.echo(f"{name} has no controller at index {index} any more.")


@controllers.command("retire")
@click.argument("controller")
@timeout_option(ANSWER_WITHIN_S)
@platform_options
def retire(controller: str, timeout_s: float, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Take CONTROLLER off the list; no app may have it. Its topic stays, and nothing is written to it any more.

    \b
    Example:
      python cli.py controllers retire lamp
    """
    from sdk.contract.requests import RetireDevice

    device = device_of(controller, "controller")
    ask_for(settings_of(bootstrap_servers, prefix), RetireDevice(device), timeout_s)
    click.echo(f"{device} is retired.")


@controllers.command("set")
@click.argument("controller")
@click.argument("value")
@timeout_option(SET_WITHIN_S)
@platform_options
def set_controller(
    controller: str, value: str, timeout_s: float, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Set CONTROLLER to VALUE, which is JSON, and wait for what comes of it.

    Ends with 0 when the device has done it. A command that the device does not act on within --timeout is withdrawn.

    \b
    Examples:
      python cli.py controllers set lamp '{"on": true}'
      python cli.py controllers set valve 0.4 --timeout 5
    """
    import json

    from sdk.controllers import close, set_by_id

    settings = settings_of(bootstrap_servers, prefix)
    device = device_of(controller, "controller")
    try:
        wanted = json.loads(value)
    except ValueError:
        raise CommandError(f"VALUE: {value!r:.80} is no JSON; text needs quotes inside: '\"on\"'.") from None
    with _platform(settings.bootstrap, settings.prefix):
        try:
            handle = set_by_id(device, wanted, timeout_s)
        except ValueError as error:
            raise CommandError(f"{error}.") from None
        state = handle.wait()
        close(0.0)
    if state != "done":
        code = CANNOT_REACH_KAFKA if state == "unreachable" else FAILED
        raise CommandError(f"{device}: {state}: {handle.reason}.", code)
    click.echo(f"{device} did it and reports {json.dumps(handle.reported, ensure_ascii=False)}.")


@controllers.command("simulate")
@click.argument("controller")
@click.option("--delay", "delay_s", type=click.FloatRange(0), default=0.0, help="Seconds it takes to act.")
@click.option("--refuse", is_flag=True, help="Say no to everything.")
@platform_options
def simulate_controller(
    controller: str, *, delay_s: float, refuse: bool, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Be the device of CONTROLLER until Ctrl-C: a lamp that does what is desired and says so.

    \b
    Examples:
      python cli.py controllers simulate lamp
      python cli.py controllers simulate lamp --delay 2
    """
    import time

    from sdk.contract.devices import device_topic
    from sdk.controllers import Rejected, serve

    settings = settings_of(bootstrap_servers, prefix)
    row = find_device(run(read(settings)).state, controller, "controller")

    def act(value: Any) -> None:
        if refuse:
            raise Rejected("it was told to refuse")
        time.sleep(delay_s)
        click.echo(f"{row.device.device} is {value}")

    topic = device_topic(settings.prefix, row.device)
    with contextlib.suppress(KeyboardInterrupt):
        serve(row.device.device, act, topic=topic, bootstrap=settings.bootstrap)


@contextlib.contextmanager
def _platform(bootstrap: str, prefix: str) -> Any:
    """The SDK finds its platform in the environment, as an app's does."""
    import os

    here = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "WATCHKEEP_PREFIX": prefix}
    before = {name: os.environ.get(name) for name in here}
    os.environ.update(here)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _last_command(state: State, controller: str) -> dict[str, Any]:
    """What is desired of a controller and what came of it; empty if nothing ever was."""
    from streams.render import stamp
    from tables.commands import command_in_force

    row = command_in_force(state, controller)
    if row is None:
        return {}
    return {
        "desired": row.value,
        "command": row.command,
        "asked_by": row.app or "a person",
        "asked_at": stamp(row.asked_at_ms),
        "state": row.phase,
        "reason": row.reason,
        "reported": row.reported,
    }
