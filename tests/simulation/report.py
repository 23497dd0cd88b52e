"""Seeds one after the other, told to a person: what failed, how to see it again, how fast it went.

Part of the simulator; the only module of it that reads a real clock and asks git for the commit.
"""

import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from tests.simulation.mutants import MUTANTS, Mutant, switched_off
from tests.simulation.nemesis import Fault
from tests.simulation.run import Verdict, faults_of, run_seed, shrink

Say = Callable[[str], object]
_ROOT = Path(__file__).resolve().parents[2]
_HOUR_MS = 3_600_000


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
    say: Say, *, seed: int, seeds: int, hours: float | None, mutant: str, shrinking: bool
) -> bool:
    """Run seeds until one fails or all are done; whether none failed."""
    chosen = next((each for each in MUTANTS if each.name == mutant), None)
    if mutant and chosen is None:
        say(f"no mutant {mutant!r}; `--mutant list` names them")
        return False
    begun_s, simulated_ms, events, done = time.process_time(), 0, 0, 0
    with switched_off(chosen) if chosen is not None else nullcontext():
        while done < seeds if hours is None else simulated_ms < hours * _HOUR_MS:
            verdict = run_seed(seed + done, _faults(seed + done, chosen))
            simulated_ms, events, done = (
                simulated_ms + verdict.simulated_ms,
                events + verdict.events,
                done + 1,
            )
            if verdict.checker:
                _say_failure(say, verdict, shrinking=shrinking, mutant=mutant)
                return False
    took_s = time.process_time() - begun_s
    hours_done = simulated_ms / _HOUR_MS
    say(
        f"{done} seeds from {seed} on, {events} events: no violation. {hours_done:.2f} h simulated in "
        f"{took_s:.1f} s of CPU, {hours_done / took_s:.3f} h per second, commit {commit()}"
    )
    return True


def _faults(seed: int, mutant: Mutant | None) -> list[Fault]:
    return faults_of(seed, kinds=mutant.kinds if mutant is not None else ())


def _say_failure(say: Say, verdict: Verdict, *, shrinking: bool, mutant: str) -> None:
    say(f"seed {verdict.seed}: {verdict.text}")
    faults = shrink(verdict.seed, verdict.faults, verdict.checker) if shrinking else verdict.faults
    say(f"{len(faults)} of {len(verdict.faults)} faults are needed:")
    for fault in faults:
        say(f"  {fault.at_ms:>8} ms  {fault.kind}  ({fault.chance})")
    with_mutant = f' --mutant "{mutant}"' if mutant else ""
    say(f"again: python cli.py simulate --seed {verdict.seed}{with_mutant}   at commit {commit()}")
