"""Returned nodes, zombie agents and slow old copies: every cell of the table in `bench/returning/cells.py`.

Two platforms suffer the faults once, at the same time; each test asks for one cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from bench.returning.cells import CELLS, ISOLATIONS, POLICIES, Cell, Policy
from bench.returning.run import Outcomes, run_cells

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

#: How long the faults last: the limit of 10 s, and long enough for a zombie to run beside the new copy.
AWAY_S = 18.0


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Outcomes]]:
    """Return what the run of all cells comes to; a fault of the run is every test's."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run_cells, tmp_path_factory.mktemp("zombies"), away_s=AWAY_S, say=print)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_cell_ends_as_stated(told: Future[Outcomes], cell: Cell) -> None:
    """The ends of old copy, new copy and node, the neighbours and the time of two copies are as the table says."""
    assert told.result().cells[cell].differences() == []


@pytest.mark.parametrize("policy", POLICIES)
def test_no_two_copies_are_accepted_at_any_offset(told: Future[Outcomes], policy: Policy) -> None:
    """The whole log keeps the rules, and the view equals it."""
    outcomes = told.result()

    assert outcomes.findings[policy] == []
    assert outcomes.events > 100


@pytest.mark.parametrize("policy", POLICIES)
def test_zombies_were_heard_and_refused(told: Future[Outcomes], policy: Policy) -> None:
    """Reports that called old copies running reached the log's watchers after the new ones were placed."""
    cells = told.result().cells

    heard = sum(cells[Cell("cut", policy, isolation)].refused for isolation in ISOLATIONS)

    assert heard > 0
