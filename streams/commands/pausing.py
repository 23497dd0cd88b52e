"""`cli.py monitor pause` and `cli.py monitor resume`: maintenance. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.commands import NOT_FOUND, CommandError
from streams.commands.options import parse_time
from streams.commands.shared import HelpfulCommand, platform_options, run, settings_of
from streams.commands.shared_apps import KINDS
from streams.render import clock, duration
from tables.pauses import PAUSE_MAX_MS, PAUSE_MIN_MS, PLATFORM

if TYPE_CHECKING:
    from streams.settings import Settings
    from tables.state import State


class Duration(click.ParamType):
    """A time such as 30s, 30m, 2h or 1d, in ms."""

    name = "duration"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the time that a person wrote, ms."""
        try:
            return value if isinstance(value, int) else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_duration(text: str) -> int:
    """The time in `30s`, `30m`, `2h` or `1d`, ms.

    Raises:
        ValueError: it is none, or out of range.
    """
    ms = parse_time(text) or 0
    if not PAUSE_MIN_MS <= ms <= PAUSE_MAX_MS:
        raise ValueError(f"{text!r:.40} is no time for a pause; write 30s, 30m, 2h or 1d, from 1s to 7d")
    return ms


@click.command("pause", cls=HelpfulCommand)
@click.argument("subject", required=False, default="", metavar="[NODE|APP]")
@click.option(
    "--for",
    "for_ms",
    type=Duration(),
    required=True,
    metavar="TIME",
    help="How long: 30s, 30m, 2h, 1d; 7d at most.",
)
@platform_options
def pause(subject: str, for_ms: int, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Conclude nothing about a node, an app or, without one, the whole platform, for a while: maintenance.

    Silences and exits are still recorded, but nothing is declared down, killed, restarted or replaced until the
    time is over; what is silent or gone then is dealt with at once. A node covers its apps. What people ask for is
    done as ever. Paused again, it gets the new time.

    \b
    Examples:
      python cli.py monitor pause --for 30m node-127.0.0.1_8083
      python cli.py monitor pause --for 2h thermostat-1
      python cli.py monitor pause --for 10m
    """
    run(_pause(settings_of(bootstrap_servers, prefix), subject, for_ms))


async def _pause(settings: Settings, subject: str, for_ms: int) -> None:
    from sdk.contract.requests import PauseWatch
    from streams.asking import open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        name = find_subject(talk.state, subject)
        await talk.ask(PauseWatch(name, for_ms))
        row = talk.state.pauses[name or PLATFORM]
        assert row.wake is not None
        click.echo(
            f"The watch over {words_of(row.subject)} is paused for {duration(for_ms)}, "
            f"until {clock(row.wake.due_at_ms, now_ms=talk.state.now_ms)}."
        )


@click.command("resume", cls=HelpfulCommand)
@click.argument("subject", required=False, default="", metavar="[NODE|APP]")
@platform_options
def resume(subject: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""End a pause before its time: that of a node or an app or, without one, that of the whole platform.

    \b
    Examples:
      python cli.py monitor resume node-127.0.0.1_8083
      python cli.py monitor resume
    """
    run(_resume(settings_of(bootstrap_servers, prefix), subject))


async def _resume(settings: Settings, subject: str) -> None:
    from sdk.contract.requests import ResumeWatch
    from streams.asking import open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        name = find_subject(talk.state, subject)
        await talk.ask(ResumeWatch(name))
        click.echo(f"The watch over {words_of(name or PLATFORM)} goes on.")


def find_subject(state: State, name: str) -> str:
    """The id of the node or app that a person named; an app may be given without its kind. Empty for the platform.

    Raises:
        CommandError: the log knows neither.
    """
    for given in (name, *(f"{kind}-{name}" for kind in KINDS)):
        if given in ("", "platform"):
            return ""
        if given in state.nodes or given in state.apps:
            return given
    raise CommandError(
        f"There is no node or app {name}; `python cli.py nodes list` and `python cli.py apps list` list them.",
        NOT_FOUND,
    )


def words_of(subject: str) -> str:
    """A subject of a pause for people."""
    return "the platform" if subject == PLATFORM else subject


def pauses_words(state: State) -> str:
    """The pauses in force and until when, for people; empty if there is none."""
    return ", ".join(
        f"{words_of(row.subject)} until {clock(row.wake.due_at_ms, now_ms=state.now_ms)}"
        for _, row in sorted(state.pauses.items())
        if row.wake is not None
    )
