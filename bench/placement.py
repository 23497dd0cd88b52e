"""How well and how fast apps find their nodes: `python -m bench.placement --json`.

Everything here is the pure planner on platforms made by seeded chance; no process, no Kafka. README.md says how each
figure is taken.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Final, NamedTuple

import click

from bench.results import COULD_NOT, BenchError, Result, Target, make_figure, print_result, read_machine
from bench.workloads import CAPACITY, Calm, make_state
from sdk.contract.events import AppPlaced
from tables.decide import decide
from tables.room import NOTHING, Need, need_of
from tables.score import shares

BINPACK: Final = Target("binpack_nodes_ratio", 1.15, "of the fewest")
SPREAD: Final = Target("spread_max_over_mean_ratio", 1.15, "of the mean")
SPEED: Final = Target("decisions_per_s", 5_000, "1/s", "higher")
GROWTH: Final = Target("cost_growth_ratio", 1.5, "of a tenth")

#: Measurements of the small platform in each round.
_SMALL_TIMES: Final = 5


class Taken(NamedTuple):
    """What one call of the planner did and cost."""

    #: CPU time of one placement, s.
    cost_s: float
    #: What is taken on each node that took anything.
    nodes: list[Need]
    #: What all apps need together.
    needed: Need


def place_all(strategy: str, *, nodes: int, apps: int, seed: int) -> Taken:
    """Place every app in one call of the planner.

    Raises:
        BenchError: an app was left over, though the nodes have room for all.
    """
    state = make_state(nodes=nodes, apps=apps, strategy=strategy, seed=seed)
    witness = Calm()
    began_s = time.process_time()
    decisions = decide(state, witness)
    took_s = time.process_time() - began_s
    taken: dict[str, Need] = {}
    needed = NOTHING
    for decision in decisions:
        if isinstance(decision, AppPlaced):
            need = need_of(state.apps[decision.app].spec)
            taken[decision.node] = taken.get(decision.node, NOTHING).plus(need)
            needed = needed.plus(need)
    placed = sum(isinstance(decision, AppPlaced) for decision in decisions)
    if placed != apps:
        raise BenchError(f"{strategy}: {apps - placed} of {apps} apps found no node.")
    return Taken(took_s / apps, list(taken.values()), needed)


def binpack_ratio(done: Taken) -> float:
    """Nodes used over the fewest that could hold the sum of all needs."""
    bound = max(-(-need // has) for need, has in zip(done.needed, CAPACITY, strict=True))
    return len(done.nodes) / bound


def spread_ratio(done: Taken, *, nodes: int) -> float:
    """Share of the fullest node over the mean of all; of slots, processor and memory the largest is a node's share."""
    taken = [max(shares(CAPACITY, CAPACITY.minus(need))) for need in done.nodes]
    return max(taken) * nodes / sum(taken)


def _small_cost_s(strategy: str, *, nodes: int, apps: int, seed: int) -> float:
    """CPU time of one placement on a small platform; it takes so short that one measurement says little."""
    return statistics.median(
        place_all(strategy, nodes=nodes, apps=apps, seed=seed).cost_s for _ in range(_SMALL_TIMES)
    )


def measure(*, nodes: int, apps: int, rounds: int) -> Result:
    """All figures; each round has apps of its own."""
    binpack, spread, speed, growth = [], [], [], []
    for seed in range(rounds):
        packed = place_all("binpack", nodes=nodes, apps=apps, seed=seed)
        evened = place_all("spread", nodes=nodes, apps=apps, seed=seed)
        binpack.append(binpack_ratio(packed))
        spread.append(spread_ratio(evened, nodes=nodes))
        speed.append(1 / max(packed.cost_s, evened.cost_s))
        growth.append(
            max(
                done.cost_s / _small_cost_s(strategy, nodes=nodes // 10, apps=apps // 10, seed=seed)
                for strategy, done in (("binpack", packed), ("spread", evened))
            )
        )
    return Result(
        bench="placement",
        machine=read_machine(kafka="none"),
        figures=[
            make_figure(BINPACK, binpack),
            make_figure(SPREAD, spread),
            make_figure(SPEED, speed),
            make_figure(GROWTH, growth),
        ],
        notes=[
            f"{nodes} nodes and {apps} apps; speed and growth are of the slower strategy, in CPU time.",
            f"Growth is against {nodes // 10} nodes and {apps // 10} apps.",
        ],
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--nodes", type=click.IntRange(10), default=1_000, show_default=True)
@click.option("--apps", type=click.IntRange(10), default=10_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Each with other apps.")
def main(*, as_json: bool, nodes: int, apps: int, rounds: int) -> None:
    """Place apps on generated platforms, packed and spread, and compare with what is thinkable."""
    try:
        result = measure(nodes=nodes, apps=apps, rounds=rounds)
    except BenchError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
