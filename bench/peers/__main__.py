"""What it costs to watch, next to what else counts beats on Kafka: `python -m bench.peers --json`.

A Kafka of its own; every job reads the same topics. README.md says how each figure is taken.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.peers import places
from bench.peers.figures import make_detail, make_figures, make_notes
from bench.peers.places import NAMES, PEERS
from bench.peers.rounds import ORIGINAL_FEW, ORIGINAL_MANY, SHORT, Comparison, Counts, Say, broker
from bench.results import COULD_NOT, BenchError, Result, print_result, read_machine
from streams.commands import CommandError


def measure(*, rounds: int, counts: Counts, say: Say) -> Result:
    """All rounds.

    Raises:
        BenchError: no peer was made ready, or our own job could not be measured.
    """
    home = places.home()
    ready = [peer for peer in PEERS if places.is_ready(peer, home)]
    if not ready:
        raise BenchError(f"There are no peers in {home}; run bench/peers/setup first.")
    machine = read_machine(kafka=places.KAFKA)
    with tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder, broker(Path(folder)) as bootstrap:
        comparison = Comparison(bootstrap, Path(folder), counts, ready, say)
        done = comparison.run(rounds)
    missing = {
        NAMES[peer]: f"it is not in {home.name}; run bench/peers/setup."
        for peer in PEERS
        if peer not in ready
    }
    return Result(
        bench="peers",
        machine=machine,
        figures=make_figures(done, original_services=ORIGINAL_MANY - ORIGINAL_FEW),
        notes=make_notes(
            {NAMES[peer]: places.version(peer) for peer in ready},
            counts._asdict(),
            {**missing, **comparison.lost},
        ),
        detail=make_detail(done),
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="Each some 6 min.")
@click.option(
    "--short", is_flag=True, help="About half of the records, for a machine that does other things too."
)
def main(*, as_json: bool, rounds: int, short: bool) -> None:
    """Let Watchkeep and its peers do the same work on the same topics, and compare what it cost them.

    bench/peers/setup must have been run once.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    try:
        with Progress(*columns, console=console, transient=True, disable=as_json) as progress:
            task = progress.add_task("a Kafka starts", total=None)
            result = measure(
                rounds=rounds,
                counts=SHORT if short else Counts(),
                say=lambda what: progress.update(task, description=what),
            )
    except (BenchError, CommandError, RuntimeError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
