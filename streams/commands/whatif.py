"""`cli.py whatif`: a recorded stretch decided again under other rules. Shell."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands import CommandError
from streams.commands.shared import (
    HelpfulCommand,
    output_option,
    platform_options,
    progress_bar,
    run,
    settings_of,
)
from streams.commands.travelling import file_option, stretch_options, travel
from streams.render import to_json

if TYPE_CHECKING:
    from datetime import datetime

    from streams.log_source import ProgressCallback
    from streams.settings import Settings
    from streams.travel.again import Changes
    from streams.travel.recordings import Stretch
    from streams.travel.verdicts import Comparison

#: Values of a sweep at most: each is a watcher of its own beside the others.
_VALUES_MAX = 50
_SWEEP_FORM = "KEY=FROM..TO:STEP, for example silence_limit_ms=4000..20000:2000"


@click.command(cls=HelpfulCommand)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="A key of the policy to change.")
@click.option(
    "--sweep", metavar="KEY=FROM..TO:STEP", help="A table and a plot over several values of one key."
)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the plot of a sweep to this file.",
)
@stretch_options
@file_option
@output_option("table", "json")
@platform_options
def whatif(
    changes: tuple[str, ...],
    sweep: str | None,
    svg: Path | None,
    start: int | datetime | None,
    end: int | datetime | None,
    path: Path | None,
    output: str,
    bootstrap_servers: str | None,
    prefix: str | None,
) -> None:
    r"""Decide a recorded stretch again under other rules, and show what would have been different.

    Reads the recorded heartbeats and events with the live watcher, fold and planner. A silence is `false` if its source
    beat again, `true` if it did not, and `unknowable` if the platform had taken it away before it could. Heartbeats are
    kept for 24 hours; `events export --beats` keeps a stretch for longer. Keys are those of `monitor policy`.

    \b
    Examples:
      python cli.py whatif --set silence_limit_ms=6000 --from -2h
      python cli.py whatif --set on_node_failure=spread --from 22:00 --to 06:00
      python cli.py whatif --sweep silence_limit_ms=4000..20000:2000 --svg limits.svg
      python cli.py whatif --set silence_limit_ms=6000 --file night.jsonl.zst
    """
    from streams.render_whatif import comparison_text, sweep_text
    from streams.travel.plots import svg_plot, terminal_plot
    from streams.travel.recordings import Stretch

    wish = parse_wish(changes)
    key, values = parse_sweep(sweep) if sweep else ("", [])
    if svg is not None and not sweep:
        raise click.UsageError("--svg draws a sweep; give --sweep too.")
    rules: list[Changes] = [wish | {key: value} for value in values] if sweep else [wish]
    rules = [check_wish(rule) for rule in rules]
    settings = settings_of(bootstrap_servers, prefix)
    with progress_bar("deciding again") as bar:
        found = decide_again(settings, path, rules, Stretch(start, end), bar)
    totals = [column.totals for column in found.columns]
    if svg is not None:
        try:
            svg.write_text(svg_plot(key, values, totals), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{svg} cannot be written: {error.strerror}.") from None
    if output == "json":
        click.echo(to_json(found))
    elif sweep:
        plot = terminal_plot(key, values, totals, columns=shutil.get_terminal_size().columns)
        click.echo(sweep_text(found, key, plot))
    else:
        click.echo(comparison_text(found))


def parse_wish(changes: tuple[str, ...]) -> dict[str, int | bool | str]:
    """The changes that `--set` names.

    Raises:
        click.UsageError: a word without `=`.
    """
    from streams.commands.monitor import parse_changes

    return parse_changes(changes)


def parse_sweep(text: str) -> tuple[str, list[int]]:
    """Key and values of `--sweep`.

    Raises:
        click.UsageError: it has not the form, or too many values.
    """
    key, sign, spread = text.partition("=")
    ends, _, step = spread.partition(":")
    low, dots, high = ends.partition("..")
    if not (key and sign and dots) or not all(part.isdigit() for part in (low, high, step)) or not int(step):
        raise click.UsageError(f"--sweep {text!r} has not the form {_SWEEP_FORM}.")
    values = range(int(low), int(high) + 1, int(step))
    if not 1 < len(values) <= _VALUES_MAX:
        raise click.UsageError(f"--sweep {text!r} has {len(values)} values; allowed: 2 to {_VALUES_MAX}.")
    return key, list(values)


def check_wish(wish: Changes) -> dict[str, int | bool | str]:
    """Changes that a policy can take, with what goes with them.

    Raises:
        click.UsageError: it cannot; the text names key, value and what is allowed.
    """
    from sdk.contract.policy import Policy
    from streams.travel.verdicts import complete_changes

    try:
        return complete_changes(wish, Policy())
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None


def decide_again(
    settings: Settings, path: Path | None, rules: list[Changes], stretch: Stretch, bar: ProgressCallback
) -> Comparison:
    """A recording under several sets of rules, beside what was recorded."""
    from streams.travel.logs import KafkaLog
    from streams.travel.recordings import replay_file, replay_kafka
    from streams.travel.verdicts import compare_found

    if path is not None:
        return compare_found(replay_file(path, rules, stretch, bar), rules)

    async def read() -> Comparison:
        async with travel(settings, None) as (log, archive):
            assert isinstance(log, KafkaLog)
            return compare_found(await replay_kafka(archive, log, rules, stretch, bar), rules)

    return run(read())
