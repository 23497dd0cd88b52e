"""Bringing the platform to what a file of specs says: the plan for people, and the steps. Shell.

What is new starts all at once. What changes is rolled out copy by copy: each must beat before the next is touched, and
the first that does not ends the rollout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sdk.contract.requests import RestartApp, RunApp, StopApp
from streams.asking import ANSWER_WITHIN_S, open_conversation
from streams.commands import CommandError
from streams.commands.shared_apps import wait_alive
from streams.render import table
from streams.spec_plan import Step, plan_specs
from tables.views import app_status

if TYPE_CHECKING:
    from streams.asking import Conversation
    from streams.settings import Settings
    from streams.spec_files import SpecFile


async def apply_specs(settings: Settings, wanted: SpecFile, *, dry_run: bool, timeout_s: float) -> None:
    """Make the platform what a file asks for; with `dry_run` only say what that would change.

    Raises:
        CommandError: a request was refused, or a copy did not come up; what was not reached is named.
    """
    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        await carry_out(talk, plan_specs(talk.state, wanted), dry_run=dry_run, timeout_s=timeout_s)


async def carry_out(talk: Conversation, steps: list[Step], *, dry_run: bool, timeout_s: float) -> None:
    """Say what the steps are and take them."""
    due = [step for step in steps if step.action != "keep"]
    if not due:
        click.echo("Nothing to do: everything is as it shall be.", err=True)
        return
    click.echo(table(["action", "app", "why"], [[step.action, step.app, step.why] for step in due]))
    if dry_run:
        return
    starting = [step for step in due if step.action == "start"]
    for step in starting:
        await talk.ask(RunApp(step.spec), timeout_s=min(timeout_s, ANSWER_WITHIN_S))
    if starting:
        await wait_alive(talk, [step.app for step in starting], newer_than=-1, timeout_s=timeout_s)
    await roll_out(talk, [step for step in due if step.action == "change"], timeout_s=timeout_s)
    await _stop(talk, [step.app for step in due if step.action == "stop"], timeout_s=timeout_s)


async def roll_out(talk: Conversation, changes: list[Step], *, timeout_s: float) -> None:
    """Give each copy its new spec and a restart, the next only when this one beats.

    Raises:
        CommandError: a copy did not come up; the others keep their specs.
    """
    for at, step in enumerate(changes):
        await talk.ask(RunApp(step.spec), timeout_s=min(timeout_s, ANSWER_WITHIN_S))
        answer = await talk.ask(RestartApp(step.app), timeout_s=min(timeout_s, ANSWER_WITHIN_S))
        try:
            await wait_alive(talk, [step.app], newer_than=answer.offset, timeout_s=timeout_s)
        except CommandError as error:
            left = ", ".join(each.app for each in changes[at + 1 :])
            untouched = f" Left as they were: {left}." if left else ""
            raise CommandError(f"The rollout stopped at {step.app}: {error.message}{untouched}") from None


async def _stop(talk: Conversation, apps: list[str], *, timeout_s: float) -> None:
    for app in apps:
        await talk.ask(StopApp(app), timeout_s=min(timeout_s, ANSWER_WITHIN_S))

    def left() -> list[str]:
        return [app for app in apps if app_status(talk.state, talk.state.apps[app]) != "stopped"]

    if not await talk.until(lambda: not left(), timeout_s=timeout_s):
        raise CommandError(f"{', '.join(left())} has not stopped within {timeout_s:g} s; the wish stands.")
