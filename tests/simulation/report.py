"""Seeds told to a person: what failed, how to see it again, how fast it went. Part of the simulator.

Whatever the number of processes, seeds are told in their order: the first failure is that of the lowest seed.
"""

import subprocess
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.simulation.mutants import MUTANTS, switched_off
from tests.simulation.parallel import Done, mutant_of, run_seeds
from tests.simulation.run import Verdict, shrink

Say = Callable[[str], object]
_ROOT = Path(__file__).resolve().parents[2]
_HOUR_MS = 3_600_000
#: Seeds handed out at a time when nobody knows how many it will be.
_BATCH = 64


def commit() -> str:
    """The commit of the checkout, with a plus if files differ from it."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def say_mutants(say: Say) -> None:
    """The guards that can be switched off."""
    for mutant in MUTANTS:
        say(mutant.name)


def simulate_seeds(
    say: Say, *, seed: int, seeds: int, hours: float | None, mutant: str, shrinking: bool, jobs: int
) -> bool:
    """Run seeds until one fails or all are done; whether none failed. The first that failed is the one told."""
    if mutant and mutant_of(mutant) is None:
        say(f"no mutant {mutant!r}; `--mutant list` names them")
        return False
    cpu_s, simulated_ms, events, done = 0.0, 0, 0, 0
    for verdict, took_s in _progress(_runs(seed, seeds, hours, mutant, jobs), seeds, hours):
        cpu_s, events, done = cpu_s + took_s, events + verdict.events, done + 1
        simulated_ms += verdict.simulated_ms
        if verdict.checker:
            _say_failure(say, verdict, shrinking=shrinking, mutant=mutant)
            return False
        if hours is not None and simulated_ms >= hours * _HOUR_MS:
            break
    hours_done = simulated_ms / _HOUR_MS
    say(
        f"{done} seeds from {seed} on, {events} events: no violation. {hours_done:.2f} h simulated in "
        f"{cpu_s:.1f} s of CPU, {hours_done / cpu_s:.3f} h per second of CPU, commit {commit()}"
    )
    return True


def _runs(seed: int, seeds: int, hours: float | None, mutant: str, jobs: int) -> Generator[Done, None, None]:
    if hours is None:
        yield from run_seeds(range(seed, seed + seeds), mutant=mutant, jobs=jobs if seeds > 1 else 1)
        return
    for begin in count(seed, _BATCH):
        yield from run_seeds(range(begin, begin + _BATCH), mutant=mutant, jobs=jobs)


def _progress(
    runs: Generator[Done, None, None], seeds: int, hours: float | None
) -> Generator[Done, None, None]:
    """The same runs, with a bar on a terminal, on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with (
        closing(runs),
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("seeds", total=seeds if hours is None else None)
        for run in runs:
            yield run
            progress.advance(task)


def _say_failure(say: Say, verdict: Verdict, *, shrinking: bool, mutant: str) -> None:
    say(f"seed {verdict.seed}: {verdict.text}")
    faults, chosen = verdict.faults, mutant_of(mutant)
    if shrinking:
        with switched_off(chosen) if chosen is not None else nullcontext():
            faults = shrink(verdict.seed, faults, verdict.checker)
    say(f"{len(faults)} of {len(verdict.faults)} faults are needed:")
    for fault in faults:
        say(f"  {fault.at_ms:>8} ms  {fault.kind}  ({fault.chance})")
    with_mutant = f' --mutant "{mutant}"' if mutant else ""
    say(f"again: python cli.py simulate --seed {verdict.seed}{with_mutant}   at commit {commit()}")
