"""Services that are watched and not run: bringing the platform to what a plain file of names says, and showing them.

Shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sdk.contract.requests import ExpectSource
from streams.asking import ANSWER_WITHIN_S, open_conversation
from streams.names_files import plan_names
from streams.render import clock, coloured, duration, table
from tables.rows import SourceRow
from tables.state import is_source_alive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.asking import Conversation
    from streams.names_files import Name
    from streams.settings import Settings
    from tables.state import State


async def apply_names(
    settings: Settings, names: list[Name], *, file: str, dry_run: bool, timeout_s: float
) -> None:
    """Watch the services that a file names; with `dry_run` only say what that would change.

    Raises:
        CommandError: one of them is run by the platform, or a request was refused.
    """
    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        await watch_names(talk, names, file=file, dry_run=dry_run, timeout_s=timeout_s)


async def watch_names(
    talk: Conversation, names: list[Name], *, file: str, dry_run: bool, timeout_s: float
) -> None:
    """Say what the steps are and take them."""
    due = [step for step in plan_names(talk.state, names, file=file) if step.action != "keep"]
    if not due:
        click.echo("Nothing to do: everything is as it shall be.", err=True)
        return
    rows = [[step.action, step.name.source, step.name.topic, step.why] for step in due]
    click.echo(table(["action", "service", "topic", "why"], rows))
    if dry_run:
        return
    for step in due:
        wish = ExpectSource(step.name.source, step.name.topic)
        await talk.ask(wish, timeout_s=min(timeout_s, ANSWER_WITHIN_S))


def watched_status(row: SourceRow) -> str:
    """A watched service's status in one word for people."""
    if row.silent:
        return "silent"
    return "running" if is_source_alive(row) else "expected"


def watched_view(row: SourceRow) -> dict[str, Any]:
    """A watched service for people and programs."""
    return {
        "app": row.source,
        "status": watched_status(row),
        "alive": int(is_source_alive(row)),
        "wanted": True,
        "watched_only": True,
        "topic": row.topic,
        "since_ms": row.since_ms,
        "failure_count": row.failures,
    }


def watched_views(state: State) -> list[dict[str, Any]]:
    """The services that are watched and not run, by name."""
    return [watched_view(state.sources[source]) for source in sorted(state.bridged)]


def watched_table(views: Sequence[Mapping[str, Any]], now_ms: int) -> str:
    """Watched services for people."""
    rows = [
        [
            view["app"],
            coloured(view["status"]),
            view["topic"],
            duration(max(0, now_ms - view["since_ms"])),
            str(view["failure_count"]),
        ]
        for view in views
    ]
    return table(["watched only", "status", "topic", "for", "failures"], rows)


def watched_lines(view: Mapping[str, Any], now_ms: int) -> str:
    """One watched service for people."""
    fields = {
        "since": f"{clock(view['since_ms'], now_ms=now_ms)} ({duration(now_ms - view['since_ms'])})",
        "topic": view["topic"],
        "failures": str(view["failure_count"]),
        "runs": "elsewhere: it is watched and announced, not restarted",
    }
    lines = [f"{view['app']}  {coloured(view['status'])}"]
    return "\n".join([*lines, *(f"  {name:<12}{value}" for name, value in fields.items())])
