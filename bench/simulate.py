"""How fast the simulator is and what it finds: `python -m bench.simulate --json`.

Nothing but this process and its children is used, no broker and no network. README.md says how each figure is taken.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.results import COULD_NOT, Figure, Result, Target, make_figure, print_result, read_machine
from tests.simulation.mutants import CAUGHT, MUTANTS
from tests.simulation.parallel import Done, cores, replay_mutants, run_long, run_seeds

HOURS: Final = Target("simulated_hours_per_s", 0.5, "h per CPU second", "higher", digits=3)
SEEDS_PER_MIN: Final = Target("seeds_per_min", 0, "seeds per minute", "higher", digits=0)
CAUGHT_RATIO: Final = Target("mutants_caught_ratio", 1.0, "of all mutants", "higher", digits=3)
VIOLATIONS: Final = Target("violations_count", 0, "seeds")

_HOUR_MS: Final = 3_600_000
_MINUTE_MS: Final = 60_000

#: Called with what is done and, once known, how many runs it takes.
Step = Callable[[str, int], None]


def measure(*, seeds: int, first: int, rounds: int, minutes: float, jobs: int, step: Step) -> Result:
    """Run everything and make the figures."""
    notes: list[str] = []
    hours = _measure_hours(rounds, int(minutes * _MINUTE_MS), first, notes, step)
    per_min, violations = _measure_seeds(range(first, first + seeds), jobs, notes, step)
    caught = _replay(jobs, notes, step)
    return Result(
        "simulate", read_machine(kafka="simulated"), [hours, per_min, caught, violations], notes=notes
    )


def _measure_hours(rounds: int, chaos_ms: int, first: int, notes: list[str], step: Step) -> Figure:
    """Simulated hours per CPU second of one process, a seed a round, one after the other."""
    values = []
    for done in run_long(range(first, first + rounds), chaos_ms=chaos_ms):
        step("a large world for long", rounds)
        _note_violation("large world", done, notes)
        values.append(done.verdict.simulated_ms / _HOUR_MS / done.cpu_s)
    return make_figure(HOURS, values)


def _measure_seeds(seeds: range, jobs: int, notes: list[str], step: Step) -> tuple[Figure, Figure]:
    """Normal seeds on all cores: how many a minute of wall time, and how many did not hold."""
    violations, begun_s = 0, time.monotonic()
    for done in run_seeds(seeds, jobs=jobs):
        step("seeds", len(seeds))
        violations += bool(done.verdict.checker)
        _note_violation("seed", done, notes)
    per_min = len(seeds) / (time.monotonic() - begun_s) * 60
    return make_figure(SEEDS_PER_MIN, [per_min]), make_figure(VIOLATIONS, [violations])


def _replay(jobs: int, notes: list[str], step: Step) -> Figure:
    """Each mutant that has a known seed at that seed; those without one count as not caught."""
    caught = 0
    for name, done in replay_mutants(jobs=jobs):
        step("mutants", len(CAUGHT))
        caught += bool(done.verdict.checker)
        if not done.verdict.checker:
            notes.append(f"mutant {name!r} was not caught at seed {CAUGHT[name][0]}.")
    missing = [mutant.name for mutant in MUTANTS if mutant.name not in CAUGHT]
    if missing:
        notes.append(f"no seed is known that catches: {', '.join(missing)}.")
    return make_figure(CAUGHT_RATIO, [caught / len(MUTANTS)])


def _note_violation(what: str, done: Done, notes: list[str]) -> None:
    if done.verdict.checker:
        text = done.verdict.text.splitlines()[0]
        notes.append(f"{what} {done.verdict.seed}: {text}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--seeds", type=click.IntRange(1), default=2_000, show_default=True, help="Normal seeds.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The first of them.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Runs of a large world.")
@click.option("--minutes", type=click.FloatRange(1), default=60.0, show_default=True, help="Faults in each.")
@click.option("--jobs", type=click.IntRange(1), help="Processes for seeds; as many as cores if not given.")
def main(*, as_json: bool, seeds: int, seed: int, rounds: int, minutes: float, jobs: int | None) -> None:
    """Measure the simulator and what it finds."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True, disable=as_json) as progress:
        tasks = {}

        def step(what: str, of: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=of)
            progress.advance(tasks[what])

        result = measure(
            seeds=seeds, first=seed, rounds=rounds, minutes=minutes, jobs=jobs or cores(), step=step
        )
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
