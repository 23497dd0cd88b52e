"""What the commands about apps share: finding one by name, and waiting until it runs. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.commands import NOT_FOUND, CommandError
from streams.render import coloured
from tables.views import app_status, is_app_alive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.asking import Conversation
    from tables.state import State

#: How long to wait for an app, s: 30 s to its first beat and room for one more copy.
RUN_WITHIN_S = 60.0
#: Kinds of apps: the first word of their ids.
KINDS = ("application", "service")


def find_app(state: State, name: str, *, kinds: Sequence[str] = KINDS) -> str:
    """The id of an app of these kinds, which may be given without its kind.

    Raises:
        CommandError: the log knows no such app.
    """
    prefixes = tuple(f"{kind}-" for kind in kinds)
    given = [name] if name.startswith(prefixes) else []
    for app in (*given, *(f"{prefix}{name}" for prefix in prefixes)):
        if app in state.apps:
            return app
    command = "apps" if len(kinds) > 1 else f"{kinds[0]}s"
    raise CommandError(
        f"There is no {'app' if len(kinds) > 1 else kinds[0]} {name}; "
        f"`python cli.py {command} list --all` lists them.",
        NOT_FOUND,
    )


def is_alive(state: State, app: str) -> bool:
    """Whether the copy in force beats."""
    return is_app_alive(state, state.apps[app])


async def wait_alive(talk: Conversation, names: list[str], *, newer_than: int, timeout_s: float) -> None:
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
    if bad := [app for app in names if ended_badly(talk.state, app)]:
        raise CommandError(
            f"{', '.join(bad)} ended without success and is not run again by itself (restart = never); "
            f"`python cli.py apps show {bad[0]}` says how, `apps restart` runs it again."
        )
    if not done:
        late = [app for app in names if not is_settled(talk.state, app, newer_than=newer_than)]
        raise CommandError(f"{', '.join(late)} did not come up within {timeout_s:g} s; the wish stands.")


def ended_badly(state: State, app: str) -> bool:
    """Whether an app has finished with anything but an exit code of 0."""
    row = state.apps[app]
    return row.phase == "finished" and row.exit_code != 0


def is_settled(state: State, app: str, *, newer_than: int) -> bool:
    """Whether an app runs in a copy placed after `newer_than`, or will not for now."""
    row = state.apps[app]
    return row.gave_up or not row.wanted or (row.generation > newer_than and is_app_alive(state, row))


def _progress_words(state: State, app: str) -> str:
    row = state.apps[app]
    status = app_status(state, row)
    if status in ("starting", "running"):
        return f"{coloured(status)} on {row.node}"
    if status == "finished" and row.exit_code is not None:
        return f"{coloured(status)} with exit code {row.exit_code}"
    return coloured(status) + (f": {row.pending_reason}" if row.pending_reason else "")
