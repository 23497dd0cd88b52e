"""Seeds that must stay well, runs that must repeat exactly, and guards whose loss must be seen."""

import pytest

from tests.simulation.mutants import CAUGHT, MUTANTS, run_mutant
from tests.simulation.run import run_seed, shrink

#: Seeds of every pull request; a longer run is `python cli.py simulate --seeds 2000`.
SEEDS = range(1, 13)


@pytest.mark.parametrize("seed", SEEDS)
def test_seed_when_everything_breaks(seed: int) -> None:
    """No checker finds anything, and after the faults everything heals."""
    verdict = run_seed(seed)

    assert verdict.checker == "", f"{verdict.text}\nagain: python cli.py simulate --seed {seed}"


def test_seed_when_run_twice() -> None:
    """One seed is one run, to the last offset."""
    first, second = run_seed(19), run_seed(19)

    assert first == second


@pytest.mark.parametrize("name", sorted(CAUGHT))
def test_mutant_when_its_seed_is_replayed(name: str) -> None:
    """A guard that is switched off is seen by a checker, at the seed that found it if possible."""
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    seed, _ = CAUGHT[name]

    # A change of the platform moves what a seed does: then another of the first seeds finds it.
    found = next((at for at in (seed, *range(1, 25)) if run_mutant(mutant, at).checker), None)

    assert found is not None


def test_shrink_when_nothing_is_needed() -> None:
    """A failure that needs no fault is shrunk to none."""
    verdict = run_seed(3)

    assert shrink(3, verdict.faults[:2], verdict.checker) == []
