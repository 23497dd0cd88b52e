"""What returned nodes, zombie agents and slow old copies come to: `python -m bench.zombies --json`.

Two platforms of its own on one broker, one for each policy of node failure, suffer each fault of the table in
`bench/returning/cells.py`. README.md says how each figure is taken.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.results import (
    COULD_NOT,
    BenchError,
    Result,
    Target,
    make_figure,
    print_result,
    read_machine,
)
from bench.returning.cells import Cell
from bench.returning.networks import Ways
from bench.returning.run import Outcome, Outcomes, run_cells
from streams.commands import CommandError
from streams.settings import Settings

#: As the cut that Docker Swarm was measured with.
AWAY_S = 40.0
#: Of the table, in columns.
_WIDTH = 132


def measure(outcomes: Outcomes) -> Result:
    """The figures of a run."""
    figures = [
        make_figure(
            Target(f"two_copies_{_name(cell)}_ms", outcome.stated.together_ms[1]),
            [outcome.observed.together_ms],
        )
        for cell, outcome in outcomes.cells.items()
    ]
    found = [f"{policy}: {it.rule}: {it.text}" for policy, of in outcomes.findings.items() for it in of]
    strange = {cell: outcome.differences() for cell, outcome in outcomes.cells.items()}
    counts = {
        "accepted_twice_count": len(found),
        "neighbours_touched_count": sum(len(it.observed.touched) for it in outcomes.cells.values()),
        "cells_not_as_stated_count": sum(bool(it) for it in strange.values()),
    }
    figures += [make_figure(Target(name, 0, ""), [value]) for name, value in counts.items()]
    notes = [f"cuts were made by {outcomes.cuts}"]
    notes += [
        f"{cell}: old copy {outcome.observed.old}, new copy on the {outcome.observed.new}, node {outcome.observed.node}"
        for cell, outcome in outcomes.cells.items()
    ]
    notes += [f"{cell}: {text}" for cell, texts in strange.items() for text in texts] + found
    return Result(
        "zombies",
        read_machine(kafka=Settings().kafka_version),
        figures=figures,
        notes=notes,
        detail={str(cell): _detail(outcome) for cell, outcome in outcomes.cells.items()},
    )


def _name(cell: Cell) -> str:
    return str(cell).replace("-", "_")


def _detail(outcome: Outcome) -> dict[str, float]:
    return {
        "together_ms": outcome.observed.together_ms,
        "replaced_ms": outcome.observed.replaced_ms,
        "reports_refused": outcome.refused,
    }


def print_cells(outcomes: Outcomes, console: Console) -> None:
    """The table, for people."""
    # Lines that a pipe would break are worth nothing.
    console.width = max(console.width, _WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("CELL", "OLD COPY", "NEW COPY", "NODE", "TOGETHER", "STATED", "REPLACED", "REFUSED", ""):
        table.add_column(heading, justify="right" if heading in {"TOGETHER", "REPLACED"} else "left")
    for cell, (stated, seen, refused) in outcomes.cells.items():
        low, high = stated.together_ms
        table.add_row(
            str(cell),
            seen.old,
            seen.new,
            seen.node,
            f"{seen.together_ms / 1000:.1f} s",
            f"{low / 1000:g} to {high / 1000:g} s",
            f"{seen.replaced_ms / 1000:.1f} s",
            str(refused),
            "[bold red]not as stated[/]" if outcomes.cells[cell].differences() else "[green]ok[/]",
        )
    console.print(table)
    console.print(
        f"{outcomes.events} records of the log judged, {sum(map(len, outcomes.findings.values()))} findings; "
        f"cuts were made by {outcomes.cuts}"
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--away",
    "away_s",
    type=click.FloatRange(12),
    default=AWAY_S,
    show_default=True,
    help="How long each fault lasts, in seconds: over the limit of 10 s.",
)
@click.option(
    "--cuts",
    "ways",
    type=click.Choice(["auto", "namespaces", "proxy"]),
    default="auto",
    show_default=True,
    help="How nodes are cut off: by network namespaces, which take root, or by a TCP proxy; auto: what can be had.",
)
def main(*, as_json: bool, away_s: float, ways: Ways) -> None:
    r"""Stop, cut off and kill nodes, let them return, and measure for how long two copies of an app run.

    \b
    Examples:
      python -m bench.zombies                 as long as the cut that others were measured with, 40 s
      python -m bench.zombies --away 18       as the integration test does
      python -m bench.zombies --cuts proxy    also where there are network namespaces
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    progress = Console(stderr=True, highlight=False, quiet=as_json)
    begun_s = time.monotonic()

    def say(text: str) -> None:
        progress.print(f"{time.monotonic() - begun_s:6.1f} s  {text}")

    try:
        with tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder:
            outcomes = run_cells(Path(folder), away_s=away_s, say=say, ways=ways)
    except (BenchError, CommandError, TimeoutError, RuntimeError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    if not as_json:
        print_cells(outcomes, Console(highlight=False))
    sys.exit(print_result(measure(outcomes), as_json=as_json))


if __name__ == "__main__":
    main()
