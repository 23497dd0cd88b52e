"""`cli.py notifications`: what apps tell people, live, and people's answers. Shell."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sdk.contract.notifications import SEVERITIES
from streams.commands import NOT_FOUND, CommandError
from streams.commands.options import timeout_option
from streams.commands.shared import (
    FORMATS,
    HelpfulGroup,
    complete_from,
    now_ms,
    output_option,
    platform_options,
    read,
    run,
    settings_of,
    warn_unwatched,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.contract.requests import AcknowledgeNotification, ClearNotification
    from streams.notice_board import Told
    from streams.settings import Settings
    from tables.notification_rows import NotificationRow
    from tables.state import State

    Wish = type[AcknowledgeNotification | ClearNotification]

ANSWER_WITHIN_S = 15.0
_STATES = ("open", "acknowledged", "cleared")
#: What the list shows if not asked for a state.
_USUAL = ("open", "acknowledged")

complete_speakers = complete_from(lambda reading: list(reading.state.speakers))


@click.group(cls=HelpfulGroup)
def notifications() -> None:
    r"""See what applications tell people, and answer.

    \b
    Examples:
      python cli.py notifications watch
      python cli.py notifications list --severity warning
      python cli.py notifications ack 7
      python cli.py notifications clear pump pump-3
    """


def filter_options(command: Any) -> Any:
    """Add the options that say which notifications are meant."""
    for option in (
        click.option(
            "--severity", type=click.Choice(SEVERITIES), default=None, help="Only this loud, or louder."
        ),
        click.option("--app", default="", metavar="APP", shell_complete=complete_speakers, help="Only its."),
    ):
        command = option(command)
    return command


# --- reading -------------------------------------------------------------------------------------------


@notifications.command("list")
@filter_options
@click.option(
    "--state",
    "states",
    type=click.Choice([*_STATES, "all"]),
    multiple=True,
    help="Only these; open and acknowledged if not given.",
)
@output_option(*FORMATS)
@platform_options
def list_notifications(
    app: str,
    severity: str | None,
    states: tuple[str, ...],
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""List notifications: what is open first, the loudest first.

    \b
    Examples:
      python cli.py notifications list
      python cli.py notifications list --app pump --severity warning
      python cli.py notifications list --state all -o json
    """
    from streams.render import to_json
    from streams.render_notifications import losses, notification_view, notifications_table, selected

    settings = settings_of(bootstrap_servers, prefix)
    reading = run(read(settings))
    warn_unwatched(reading)
    wanted = _STATES if "all" in states else states or _USUAL
    rows = selected(reading.state, app=_app(app), severity=severity or "", states=wanted)
    if output == "json":
        click.echo(to_json([notification_view(row, now_ms()) for row in rows]))
        return
    if output == "name":
        click.echo("\n".join(str(row.number) for row in rows))
        return
    click.echo(notifications_table(rows, now_ms()) if rows else "There are no such notifications.")
    for sentence in losses(reading.state):
        click.secho(sentence, err=True, fg="yellow")


@notifications.command("show")
@click.argument("which", nargs=-1, required=True, metavar="NUMBER | APP KEY")
@output_option("table", "json")
@platform_options
def show(which: tuple[str, ...], output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Show one notification in full.

    \b
    Examples:
      python cli.py notifications show 7
      python cli.py notifications show pump pump-3
    """
    from streams.render import to_json
    from streams.render_notifications import notification_lines, notification_view

    settings = settings_of(bootstrap_servers, prefix)
    for row in _find(run(read(settings)).state, which):
        if output == "json":
            click.echo(to_json(notification_view(row, now_ms())))
        else:
            click.echo(notification_lines(row, now_ms()))


@notifications.command("watch")
@filter_options
@click.option("--new", "only_new", is_flag=True, help="Leave out what is open already.")
@output_option("table", "json")
@platform_options
def watch(
    app: str,
    severity: str | None,
    only_new: bool,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Show notifications as they come, until Ctrl-C: one line each, a count instead of a flood.

    What is to be repeated until somebody acknowledges it is, and what nobody answers grows louder. Goes on by itself
    after an outage of Kafka.

    \b
    Examples:
      python cli.py notifications watch
      python cli.py notifications watch --severity critical
      python cli.py notifications watch --new -o json
    """
    from streams.notice_board import told_document, told_line
    from streams.render_notifications import is_loud_enough
    from streams.watching_notices import watch_notices

    settings, name = settings_of(bootstrap_servers, prefix), _app(app)

    def tell(found: list[Told]) -> None:
        for told in found:
            is_json = output == "json"
            click.echo(msgspec.json.encode(told_document(told)).decode() if is_json else told_line(told))

    run(
        watch_notices(
            settings,
            wanted=lambda row: (not name or row.app == name) and is_loud_enough(row, severity or ""),
            tell=tell,
            say=lambda sentence: click.secho(sentence, err=True, fg="yellow"),
            begun=warn_unwatched,
            now_ms=now_ms,
            with_open=not only_new,
        )
    )


# --- answering -----------------------------------------------------------------------------------------


def answer_options(command: Any) -> Any:
    """Add what says which notifications are answered, and by whom."""
    for option in (
        platform_options,
        timeout_option(ANSWER_WITHIN_S),
        click.option("--by", default=None, metavar="NAME", help="Who answers; the login name if not given."),
        click.option("--all", "every", is_flag=True, help="All that the options --app and --severity leave."),
        filter_options,
        click.argument("which", nargs=-1, metavar="[NUMBER... | APP KEY]"),
    ):
        command = option(command)
    return command


@notifications.command("ack")
@answer_options
def ack(**given: Any) -> None:
    r"""Say that you look after notifications: they are not repeated, nor do they grow louder.

    More of the same counts on quietly; something louder under the same key opens it again.

    \b
    Examples:
      python cli.py notifications ack 7 9
      python cli.py notifications ack pump pump-3
      python cli.py notifications ack --all --app pump
    """
    from sdk.contract.requests import AcknowledgeNotification

    _answer(AcknowledgeNotification, "acknowledged", ("open",), **given)


@notifications.command("clear")
@answer_options
def clear(**given: Any) -> None:
    r"""Say that notifications are done with: the next occurrence opens another.

    \b
    Examples:
      python cli.py notifications clear 7 9
      python cli.py notifications clear pump pump-3
      python cli.py notifications clear --all
    """
    from sdk.contract.requests import ClearNotification

    _answer(ClearNotification, "cleared", _USUAL, **given)


def _answer(
    wish: Wish,
    word: str,
    states: tuple[str, ...],
    *,
    which: tuple[str, ...],
    every: bool,
    app: str,
    severity: str | None,
    by: str | None,
    timeout_s: float,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    from streams.render_notifications import selected

    if every == bool(which):
        raise click.UsageError("Name notifications by number, one by APP and KEY, or say --all.")
    if which and (app or severity):
        raise click.UsageError("--app and --severity belong to --all.")
    settings = settings_of(bootstrap_servers, prefix)

    def choose(state: State) -> list[NotificationRow]:
        return (
            selected(state, app=_app(app), severity=severity or "", states=states)
            if every
            else _find(state, which)
        )

    rows = run(_ask(settings, wish, choose, _login() if by is None else by, timeout_s))
    for row in rows:
        click.echo(f"#{row.number} of {row.app} is {word}.")
    if not rows:
        click.echo("There is nothing to answer.")


async def _ask(
    settings: Settings,
    wish: Wish,
    choose: Callable[[State], list[NotificationRow]],
    by: str,
    timeout_s: float,
) -> list[NotificationRow]:
    from streams.asking import open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        rows = choose(talk.state)
        if rows:
            wishes = [wish(row.app, row.key, row.number, by) for row in rows]
            await talk.ask_all(wishes, timeout_s=timeout_s)
        return rows


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _app(app: str) -> str:
    return app if not app or app.startswith(("application-", "service-")) else f"application-{app}"


def _find(state: State, which: tuple[str, ...]) -> list[NotificationRow]:
    """The rows with these numbers, or the one of an app under a key."""
    from tables.fold_notifications import row_key

    words = [word.removeprefix("#") for word in which]
    if all(word.isdecimal() for word in words):
        by_number = {row.number: row for row in state.notifications.values()}
        missing = [word for word in words if int(word) not in by_number]
        if missing:
            raise CommandError(f"There is no notification {', '.join(missing)}.", NOT_FOUND)
        return [by_number[int(word)] for word in words]
    if len(which) != 2:  # noqa: PLR2004  # app and key
        raise click.UsageError("Name notifications by number, or one by APP and KEY.")
    row = state.notifications.get(row_key(_app(which[0]), which[1]))
    if row is None:
        raise CommandError(f"There is no notification {which[1]!r:.120} of {_app(which[0])}.", NOT_FOUND)
    return [row]
