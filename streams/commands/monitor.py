"""`cli.py monitor`: whether the platform is well, and who falls silent as it happens. Shell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from streams.commands import OK, UNHEALTHY
from streams.commands.pausing import pause, pauses_words, resume
from streams.commands.shared import (
    HelpfulGroup,
    now_ms,
    output_option,
    platform_options,
    run,
    settings_of,
    warn_unwatched,
    watch,
)
from streams.health import Health, brake_words, promise, read_health
from streams.render import clock, coloured, duration, stamp, to_json
from tables.state import is_hosted
from tables.views import Monitored
from tables.views import monitor as monitor_row

if TYPE_CHECKING:
    from streams.log_source import Entry
    from streams.settings import Settings
    from tables.state import Key, State


@click.group(cls=HelpfulGroup)
def monitor() -> None:
    r"""Who beats and who is silent.

    \b
    Examples:
      python cli.py monitor status
      python cli.py monitor watch
      python cli.py monitor pause --for 30m node-127.0.0.1_8083
    """


# --- status --------------------------------------------------------------------------------------------


@monitor.command("status")
@click.option("--watch", "watched", is_flag=True, help="Look again each second.")
@output_option("table", "json")
@platform_options
@click.pass_context
def status(
    ctx: click.Context, watched: bool, output: str, bootstrap_servers: str | None, prefix: str | None
) -> None:
    r"""Say whether the platform is well, and if not, why. Exit code 4 if it is not.

    \b
    Examples:
      python cli.py monitor status
      python cli.py monitor status -o json
    """
    settings = settings_of(bootstrap_servers, prefix)

    async def look() -> tuple[str, int]:
        reading, health = await read_health(settings, now_ms())
        if output == "json":
            document = msgspec.structs.asdict(health) | {
                "healthy": not health.problems,
                "promise": promise(reading.state),
                "pauses": [
                    {"subject": row.subject, "since_ms": row.since_ms, "until_ms": row.wake.due_at_ms}
                    for _, row in sorted(reading.state.pauses.items())
                    if row.wake is not None
                ],
                "as_of": reading.state.offset,
            }
            return to_json(document), UNHEALTHY if health.problems else OK
        return status_text(reading.state, health, now_ms()), UNHEALTHY if health.problems else OK

    async def look_again() -> str:
        return (await look())[0]

    if watched:
        run(watch(look_again))
    text, code = run(look())
    click.echo(text)
    ctx.exit(code)


def status_text(state: State, health: Health, now: int) -> str:
    """The platform's health for people."""
    tick = health.last_tick_ms
    watched = (
        f"yes, last tick {duration(max(0, now - tick))} ago"
        if health.watched and tick is not None
        else click.style("no", fg="red") + (f", last tick at {clock(tick, now_ms=now)}" if tick else "")
    )
    leader = f"{health.leader}, term {health.term}" if health.term >= 0 else "nobody has led yet"
    if health.term >= 0 and not health.leads:
        leader += click.style(" (not heard)", fg="red")
    lines = {
        "watched": watched,
        "leader": leader,
        "brake": click.style(health.brake_words, fg="red") if health.brake_words else "off",
        "paused": pauses_words(state) or "nothing",
        "nodes": f"{health.nodes_active} of {health.nodes_wanted} active",
        "overdue": ", ".join(health.overdue) or "none",
        "apps": f"{health.apps_running} of {health.apps_wanted} running",
        "sensors": f"{health.sensors_working} of {health.sensors_judged} with a limit working",
        "silent": ", ".join(health.silent) or "none",
        "provisioners": ", ".join(pool.removeprefix("pool-") for pool in health.provisioners) or "none",
    }
    head = (
        click.style("All is well.", fg="green") if not health.problems else click.style("Not well:", fg="red")
    )
    problems = [f"  - {problem}" for problem in health.problems]
    facts = [f"{name:<14}{value}" for name, value in lines.items()]
    return "\n".join([head, *problems, *facts, promise(state)])


# --- watch ---------------------------------------------------------------------------------------------


@monitor.command("watch")
@platform_options
def watch_sources(bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Print who becomes inactive or active, as it happens. Ctrl-C ends it.

    \b
    Example:
      python cli.py monitor watch
      2026-03-01 14:03:05.120  deployer Inactive
      2026-03-01 14:03:05.904  deployer Active
    """
    run(_watch(settings_of(bootstrap_servers, prefix)))


async def _watch(settings: Settings) -> None:
    from streams.log_source import fold_entry, open_source
    from streams.reading import read_from

    async with open_source(settings.bootstrap, settings.prefix) as source:
        reading = await read_from(source)
        warn_unwatched(reading)
        lines = WatchLines(reading.state)
        for line in lines.first():
            click.echo(line)
        async for entry in source.read_log(reading.end):
            fold_entry(reading.state, entry)
            for line in lines.after(entry):
                click.echo(line)


_WATCHED_TABLES = ("nodes", "apps", "pools", "sources", "devices")


class WatchLines:
    """What `monitor watch` prints: a line whenever the status 0/1 of a source changes."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._changed: set[Key] = state.listen()
        self._status: dict[str, int] = {}
        self._braked = state.brake.engaged >= 0
        for table in _WATCHED_TABLES:
            for source in state.tables[table]:
                monitored = monitor_row(state, source)
                if monitored is not None:
                    self._status[source] = monitored.status

    def first(self) -> Iterator[str]:
        """Who ought to be active and is not, as watching begins."""
        for source in sorted(self._status):
            monitored = monitor_row(self._state, source)
            if monitored is not None and not monitored.status and is_expected(self._state, source):
                yield watch_line(monitored.since_ms, monitored)
        if words := brake_words(self._state):
            yield f"{stamp(self._state.now_ms)}  brake {coloured('Active')} ({words})"

    def after(self, entry: Entry) -> Iterator[str]:
        """The lines for an event that was just folded."""
        changed, sources = self._changed.copy(), set[str]()
        self._changed.clear()
        for table, key in changed:
            if table in _WATCHED_TABLES:
                sources.add(key)
            if table == "nodes":
                sources |= self._state.apps_of_node.get(key, set())
        for source in sorted(sources):
            monitored = monitor_row(self._state, source)
            if monitored is None:
                continue
            # Who is new and has not been active is only announced once it is.
            if self._status.get(source, 0) != monitored.status:
                yield watch_line(entry.append_ms, monitored)
            self._status[source] = monitored.status
        braked = self._state.brake.engaged >= 0
        if braked != self._braked:
            self._braked = braked
            why = f" ({brake_words(self._state)})" if braked else ""
            yield f"{stamp(entry.append_ms)}  brake {coloured('Active' if braked else 'Inactive')}{why}"


def is_expected(state: State, source: str) -> bool:
    """Whether a source ought to be active: neither stopped nor gone for good."""
    if source in state.nodes:
        return state.nodes[source].status == "active"
    if source in state.apps:
        row = state.apps[source]
        return row.wanted and (is_hosted(state, row) or row.phase != "pending")
    return True


def watch_line(at_ms: int, monitored: Monitored) -> str:
    """`deployer Inactive` with its time; services go by their bare name."""
    name = monitored.source.removeprefix("service-")
    return f"{stamp(at_ms)}  {name} {coloured('Active' if monitored.status else 'Inactive')}"


# --- policy --------------------------------------------------------------------------------------------


@monitor.command("policy")
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...")
@output_option("table", "json", "toml")
@platform_options
def policy(changes: tuple[str, ...], output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Show the policy in force, or change it: limits, brake, back-off and placement.

    A change is a record on the log and counts from there on; keys not named stay as they are.

    \b
    Examples:
      python cli.py monitor policy
      python cli.py monitor policy brake_hold_ms=120000 strategy=binpack
      python cli.py monitor policy -o toml > policy.toml
    """
    wish = parse_changes(changes)
    run(_policy(settings_of(bootstrap_servers, prefix), wish, output))


def parse_changes(changes: tuple[str, ...]) -> dict[str, int | bool | str]:
    """`KEY=VALUE` words as a wish; numbers and true or false become what they say.

    Raises:
        click.UsageError: a word without `=`.
    """
    wish: dict[str, int | bool | str] = {}
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign or not key:
            raise click.UsageError(
                f"{change!r} is no change; expected KEY=VALUE, for example brake_hold_ms=120000"
            )
        truth = {"true": True, "false": False}.get(text.lower())
        wish[key] = truth if truth is not None else int(text) if text.lstrip("-").isdigit() else text
    return wish


async def _policy(settings: Settings, wish: dict[str, int | bool | str], output: str) -> None:
    from sdk.contract.requests import ChangePolicy
    from streams.asking import open_conversation
    from streams.render import table

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        if wish:
            await talk.ask(ChangePolicy(wish))
        row = talk.state.policy_row
        if output == "json":
            click.echo(to_json(row))
            return
        values = msgspec.structs.asdict(row.policy).items()
        if output == "toml":
            # Numbers, words and truth: TOML writes them as JSON does.
            click.echo("\n".join(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in values))
            return
        click.echo(table(["KEY", "VALUE"], [[key, str(value).lower()] for key, value in values]))
        click.echo(
            f"As of offset {row.offset}." if row.offset >= 0 else "The built-in one; nobody has changed it."
        )


# --- forget --------------------------------------------------------------------------------------------


@monitor.command("forget")
@click.argument("source")
@platform_options
def forget(source: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Do not expect SOURCE back: a program that beat by itself and has gone for good.

    \b
    Example:
      python cli.py monitor forget service-scheduler
    """
    run(_forget(settings_of(bootstrap_servers, prefix), source))


async def _forget(settings: Settings, source: str) -> None:
    from sdk.contract.requests import ForgetSource
    from streams.asking import open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        await talk.ask(ForgetSource(source))
        click.echo(f"{source} is forgotten; should it beat again, it is watched again.")


# --- release -------------------------------------------------------------------------------------------


@monitor.command("release")
@platform_options
def release(bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""End the brake: silent nodes are replaced again although many are overdue.

    \b
    Example:
      python cli.py monitor release
    """
    run(_release(settings_of(bootstrap_servers, prefix)))


async def _release(settings: Settings) -> None:
    from sdk.contract.requests import ReleaseBrake
    from streams.asking import open_conversation

    async with open_conversation(settings.bootstrap, settings.prefix) as talk:
        was_on = talk.state.brake.engaged >= 0
        await talk.ask(ReleaseBrake())
        click.echo("The brake is released." if was_on else "The brake was off; nothing changed.")


monitor.add_command(pause)
monitor.add_command(resume)
