"""`cli.py backtest`: recordings decided again under another policy, as a gate. Shell."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands import CommandError
from streams.commands.shared import HelpfulCommand, output_option, progress_bar
from streams.commands.whatif import check_wish
from streams.render import to_json

if TYPE_CHECKING:
    from streams.travel.silences import Silence
    from streams.travel.verdicts import Comparison


@click.command(cls=HelpfulCommand)
@click.option(
    "--policy",
    "policy_path",
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Keys of the policy to change, as TOML.",
)
@click.option(
    "--against",
    "logs",
    required=True,
    multiple=True,
    metavar="LOG",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of `events export --beats`; more may follow it.",
)
@click.argument(
    "more", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="[LOG]..."
)
@output_option("table", "json")
@click.pass_context
def backtest(
    ctx: click.Context, policy_path: Path, logs: tuple[Path, ...], more: tuple[Path, ...], output: str
) -> None:
    r"""Decide recordings again under another policy; exit code 1 if it starts more apps again that lived.

    The policy is TOML, as `monitor policy -o toml` prints it; keys that the file does not name stay as they were
    recorded. Needs no Kafka.

    \b
    Examples:
      python cli.py backtest --policy quick.toml --against night.jsonl.zst
      python cli.py backtest --policy quick.toml --against nights/*.jsonl.zst
    """
    from streams.travel.recordings import Stretch, replay_file
    from streams.travel.verdicts import compare_found

    wish = check_wish(read_policy(policy_path))
    found: dict[Path, Comparison] = {}
    for path in (*logs, *more):
        with progress_bar(f"deciding {path.name} again") as bar:
            found[path] = compare_found(replay_file(path, [wish], Stretch(), bar), [wish])
    worse = {path: each for path, each in found.items() if is_worse(each)}
    if output == "json":
        click.echo(to_json([_document(path, each) for path, each in found.items()]))
    elif not worse:
        heard = sum(each.beats for each in found.values())
        click.echo(f"No more false restarts in {len(found)} recordings with {heard} heartbeats.")
    for path, each in worse.items() if output != "json" else ():
        click.echo(_worse_words(path, each))
    ctx.exit(1 if worse else 0)


def read_policy(path: Path) -> dict[str, int | bool | str]:
    """The keys that a file names, alone or in a table `[policy]`.

    Raises:
        click.UsageError: it is no TOML, or a value is neither a number, a word nor true or false.
    """
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} is not TOML: {error}.") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    values = document.get("policy", document)
    if not isinstance(values, dict) or (values is not document and len(document) > 1):
        raise click.UsageError(f"{path}: expected keys of the policy, or a table [policy] and nothing else.")
    for key, value in values.items():
        if not isinstance(value, int | str):
            raise click.UsageError(
                f"{path}: policy.{key} is {value!r:.40}; allowed: a number, a word, true, false."
            )
    return values


def is_worse(found: Comparison) -> bool:
    """Whether the new rules start more again that lived than was recorded."""
    column = found.columns[0]
    return _falsely(column.new) > _falsely(column.missing)


def _falsely(silences: list[Silence]) -> int:
    return sum(silence.false_restarts for silence in silences)


def first_of(found: Comparison) -> Silence:
    """The first silence that only the new rules find and that makes them worse."""
    new = found.columns[0].new
    return next(silence for silence in new if silence.false_restarts)


def _worse_words(path: Path, found: Comparison) -> str:
    from streams.render_whatif import silence_words

    falsely, before = found.columns[0].totals.false_restarts, found.recorded.false_restarts
    first = first_of(found)
    return (
        f"{path}: {falsely} apps that lived would have been started again, {before} were; "
        f"first at heartbeat {first.partition}/{first.until_offset}:\n  {silence_words(first)}"
    )


def _document(path: Path, found: Comparison) -> dict[str, Any]:
    worse = is_worse(found)
    first = first_of(found) if worse else None
    place = {"partition": first.partition, "offset": first.until_offset} if first is not None else None
    return {
        "file": str(path),
        "worse": worse,
        "first": place,
        "recorded": found.recorded,
        "again": found.columns[0].totals,
    }
