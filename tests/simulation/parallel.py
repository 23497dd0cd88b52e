"""Seeds on several processes, told in their order, so that the first failure is the same whoever was faster.

Part of the simulator; reads the CPU time of its processes and no clock.
"""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

from tests.simulation.mutants import CAUGHT, MUTANTS, Mutant, run_mutant, switched_off
from tests.simulation.run import Verdict, faults_of, long_faults_of, run_seed
from tests.simulation.world import Size

#: What simulated hours are counted with: ten nodes, twenty apps.
LARGE = Size(apps=20, nodes=10, apps_max=25, nodes_min=9, nodes_max=12)


class Done(NamedTuple):
    """A run that is over."""

    verdict: Verdict
    cpu_s: float


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_seeds(seeds: Iterable[int], *, mutant: str = "", jobs: int = 1) -> Iterator[Done]:
    """The runs of normal seeds, in the order of `seeds`."""
    return _run_all(partial(_run_normal, mutant), seeds, jobs)


def run_long(seeds: Iterable[int], *, chaos_ms: int, jobs: int = 1) -> Iterator[Done]:
    """Runs of a large world with as many faults a minute as normal seeds have."""
    return _run_all(partial(_run_large, chaos_ms), seeds, jobs)


def replay_mutants(*, jobs: int = 1) -> Iterator[tuple[str, Done]]:
    """Each mutant with the seed that is known to catch it."""
    names = sorted(CAUGHT)
    yield from zip(names, _run_all(_run_caught, names, jobs), strict=True)


def mutant_of(name: str) -> Mutant | None:
    """The mutant of a name, None without one."""
    return next((each for each in MUTANTS if each.name == name), None)


def _run_normal(mutant: str, seed: int) -> Done:
    chosen = mutant_of(mutant)
    begun_s = time.process_time()
    with switched_off(chosen) if chosen is not None else nullcontext():
        verdict = run_seed(seed, faults_of(seed, kinds=chosen.kinds if chosen is not None else ()))
    return Done(verdict, time.process_time() - begun_s)


def _run_large(chaos_ms: int, seed: int) -> Done:
    begun_s = time.process_time()
    faults = long_faults_of(seed, chaos_ms=chaos_ms)
    verdict = run_seed(seed, faults, chaos_ms=chaos_ms, size=LARGE)
    return Done(verdict, time.process_time() - begun_s)


def _run_caught(name: str) -> Done:
    chosen = mutant_of(name)
    assert chosen is not None
    begun_s = time.process_time()
    verdict = run_mutant(chosen, CAUGHT[name][0])
    return Done(verdict, time.process_time() - begun_s)


def _run_all(work: Callable[[Any], Done], tasks: Iterable[Any], jobs: int) -> Iterator[Done]:
    """`work` for each task on so many processes, given in the order of the tasks."""
    if jobs == 1:
        yield from map(work, tasks)
        return
    # Left early or interrupted, the pool ends its processes.
    with multiprocessing.get_context("fork").Pool(jobs, initializer=_begin_process) as pool:
        yield from pool.imap(work, tasks)


def _begin_process() -> None:
    """Leave the interrupt to the parent, and be silent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
