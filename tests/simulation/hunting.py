"""Hunt for the first seed that catches each mutant: `python -m tests.simulation.hunting [NAME ...]`.

Part of the simulator. A seed counts if a checker stops the mutant while the unchanged platform, with the same
faults, passes.
"""

import argparse
import logging
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.mutants import MUTANTS, Mutant, run_mutant
from tests.simulation.run import Verdict, faults_of, run_seed

SEEDS_MAX = 2_000


def _try(task: tuple[str, int]) -> Verdict:
    logging.disable(logging.CRITICAL)
    return run_mutant(_named(task[0]), task[1])


def _named(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)


def is_caught(mutant: Mutant, verdict: Verdict) -> bool:
    """Whether a checker stopped the mutant and not the platform itself."""
    return (
        bool(verdict.checker)
        and not run_seed(verdict.seed, faults_of(verdict.seed, kinds=mutant.kinds)).checker
    )


def hunt(name: str, seeds: Iterable[int], *, jobs: int) -> Verdict | None:
    """The verdict of the first seed that catches the mutant."""
    mutant = _named(name)
    pool = ProcessPoolExecutor(jobs)
    try:
        for verdict in pool.map(_try, ((name, seed) for seed in seeds)):
            if is_caught(mutant, verdict):
                return verdict
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return None


def main() -> None:
    """Hunt for each mutant named, or for all."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    for mutant in MUTANTS:
        if asked.names and mutant.name not in asked.names:
            continue
        found = hunt(mutant.name, range(asked.first, asked.first + asked.seeds), jobs=asked.jobs)
        line = (
            f'    "{mutant.name}": ({found.seed}, "{found.checker}"),'
            if found
            else f"    # {mutant.name}: not caught"
        )
        sys.stdout.write(f"{line}  # {found.text[:200] if found else asked.seeds}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
