"""Seeds that must stay well, runs that must repeat exactly, and guards whose loss must be seen."""

import pytest

from tests.simulation.mutants import CAUGHT, MUTANTS, run_mutant
from tests.simulation.parallel import cores, run_seeds
from tests.simulation.run import run_seed, shrink

#: Seeds one by one, for a quick look.
SEEDS = range(1, 13)
#: Seeds of every pull request, on all cores; the same as `python cli.py simulate --seeds 2000`.
MANY = range(1, 2_001)
#: Four minutes on two free cores; a busy machine may take longer. `bench.simulate` says how fast it is.
MANY_WITHIN_S = 900


@pytest.mark.parametrize("seed", SEEDS)
def test_seed_when_everything_breaks(seed: int) -> None:
    """No checker finds anything, and after the faults everything heals."""
    verdict = run_seed(seed)

    assert verdict.checker == "", f"{verdict.text}\nagain: python cli.py simulate --seed {seed}"


@pytest.mark.alone
@pytest.mark.timeout(MANY_WITHIN_S)
def test_seeds_by_the_thousand() -> None:
    """No checker finds anything in two thousand seeds."""
    failed = next((done.verdict for done in run_seeds(MANY, jobs=cores()) if done.verdict.checker), None)

    assert failed is None, f"{failed.text}\nagain: python cli.py simulate --seed {failed.seed}"


def test_failure_when_several_processes_look() -> None:
    """The first failure told is that of the lowest seed, whoever finds one first."""
    mutant = "agent drains before it judges"
    one = next(done.verdict for done in run_seeds(range(1, 9), mutant=mutant) if done.verdict.checker)
    two = next(done.verdict for done in run_seeds(range(1, 9), mutant=mutant, jobs=2) if done.verdict.checker)

    assert one == two


def test_seed_when_run_twice() -> None:
    """One seed is one run, to the last offset."""
    first, second = run_seed(19), run_seed(19)

    assert first == second


@pytest.mark.parametrize("name", sorted(CAUGHT))
def test_mutant_when_its_seed_is_replayed(name: str) -> None:
    """A guard that is switched off is seen by the checker and at the seed that found it."""
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    seed, checker = CAUGHT[name]

    verdict = run_mutant(mutant, seed)

    assert verdict.checker == checker, (
        f"seed {seed} ends with {verdict.checker or 'nothing found'!r}, not {checker!r}. A change of the platform "
        f"or of the simulator moves what a seed does: hunt again (`python -m tests.simulation.hunting {name!r}`) and "
        f"write the line it prints into CAUGHT. If 2,000 seeds find nothing, the guard is not seen any more."
    )


def test_shrink_when_nothing_is_needed() -> None:
    """A failure that needs no fault is shrunk to none."""
    verdict = run_seed(3)

    assert shrink(3, verdict.faults[:2], verdict.checker) == []
