"""How fast what dies comes back: `python -m bench.failover --rounds 20 --json`.

Kills against a platform of its own on free ports (broker, two workers, three nodes with four slots), or against
the one that runs here. README.md says how each figure is taken.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.figures import find_false_facts, find_false_restarts
from bench.load import Load, hold
from bench.platforms import Platform, own_platform, running_platform
from bench.results import (
    COULD_NOT,
    BenchError,
    Result,
    Target,
    VoidError,
    make_figure,
    print_result,
    read_machine,
)
from bench.scenarios import Scenarios
from bench.trace import print_trace
from streams.commands import CommandError
from streams.settings import Settings, load_settings

TARGETS: Final = (
    Target("node_silence_over_limit_ms_max", 400),
    Target("node_silence_recovered_ms_p50", 700),
    Target("node_silence_found_and_recovered_ms_p50", 11_000),
    Target("node_killed_recovered_ms_p50", 700),
    Target("app_killed_recovered_ms_p50", 400),
    Target("worker_and_node_over_limit_ms_max", 400),
    Target("worker_and_node_recovered_ms_p50", 5_000),
    Target("broker_and_node_recovered_ms_p50", 10_000),
    Target("spare_node_killed_recovered_ms_p50", 400),
)
FALSE_FACTS: Final = Target("false_facts_count", 0, "facts")
FALSE_RESTARTS: Final = Target("false_restarts_count", 0, "restarts")
FAILED: Final = Target("failed_rounds_count", 0, "rounds")
#: In this order: app rounds need free slots, node rounds full nodes, and the pool keeps its spare to the end.
SCENARIOS: Final = (
    "app_killed",
    "node_killed",
    "node_silence",
    "worker_and_node_silence",
    "worker_and_node_killed",
    "broker_and_node_killed",
    "spare_node_killed",
)
LOAD_S: Final = 60.0

Say = Callable[[str], None]


class Options:
    """What was asked for."""

    def __init__(
        self, *, rounds: int, scenarios: tuple[str, ...], load: bool, trace: bool, seed: int
    ) -> None:
        self.rounds = rounds
        self.scenarios = scenarios
        self.load = load
        self.trace = trace
        self.seed = seed


def measure(platform: Platform, options: Options, say: Say, console: Console) -> Result:
    """All rounds, and the figures they gave."""
    scenarios = Scenarios(platform, seed=options.seed)
    machine = read_machine(kafka=Settings().kafka_version)
    for name in SCENARIOS:
        if name not in options.scenarios:
            continue
        if name == "spare_node_killed":
            scenarios.set_spares(1)
        scenarios.fill(leave=scenarios.spare_for_apps if name == "app_killed" else 0)
        for number in range(1, options.rounds + 1):
            say(f"{name}, round {number} of {options.rounds}")
            scenarios.run(name)
    notes = [_load(scenarios, say)] if options.load else []
    say("clearing up")
    scenarios.settle()
    false = _false(platform, scenarios)
    scenarios.leave()
    if options.trace:
        for timed in scenarios.timed:
            print_trace(platform.rig, timed, console)
    return Result(
        bench="failover",
        machine=machine,
        figures=[
            *(make_figure(it, scenarios.values[it.name]) for it in TARGETS if scenarios.values[it.name]),
            make_figure(FALSE_FACTS, [len(false[0])]),
            make_figure(FALSE_RESTARTS, [len(false[1])]),
            make_figure(FAILED, [len(scenarios.failures)]),
        ],
        notes=[*notes, *false[0], *false[1], *scenarios.failures],
    )


def _load(scenarios: Scenarios, say: Say) -> str:
    """Load both cores with everything running; whatever is said meanwhile counts as false."""
    scenarios.fill(leave=0)
    scenarios.settle()
    load = Load(2)
    say(f"{LOAD_S:.0f} s under {load.name}")
    with load.running():
        hold(LOAD_S)
    return f"False facts and restarts were also counted during {LOAD_S:.0f} s of {load.name}."


def _false(platform: Platform, scenarios: Scenarios) -> tuple[list[str], list[str]]:
    """False facts and false restarts, as sentences."""
    events = platform.rig.events(platform.since)
    facts = [f"false fact: {seen}" for seen in find_false_facts(events, scenarios.stopped)]
    restarts = [f"false restart: {seen}" for seen in find_false_restarts(events, scenarios.stopped)]
    deaths = platform.count_strange_deaths()
    return facts, restarts + ["false restart: a worker or the provisioner ended by itself"] * deaths


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=20, show_default=True, help="Rounds of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--against-running", is_flag=True, help="Torment the platform that `up` runs here.")
@click.option("--load/--no-load", default=True, help="Also 60 s with both cores loaded.", show_default=True)
@click.option("--only", type=click.Choice(SCENARIOS), multiple=True, help="Only these kinds of rounds.")
@click.option("--trace", is_flag=True, help="Print the time line of each round.")
@click.option("--seed", type=int, default=0, help="Of the moments at which things are stopped.")
def main(
    *,
    rounds: int,
    as_json: bool,
    against_running: bool,
    load: bool,
    only: tuple[str, ...],
    trace: bool,
    seed: int,
) -> None:
    """Stop nodes, apps and workers, and measure how fast they are found and come back."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    console = Console(stderr=True, highlight=False)
    options = Options(rounds=rounds, scenarios=only or SCENARIOS, load=load, trace=trace, seed=seed)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, transient=True, disable=as_json) as progress:
            task = progress.add_task("starting a platform", total=None)

            def say(text: str) -> None:
                progress.update(task, description=text)

            place: AbstractContextManager[Platform] = (
                running_platform(load_settings()) if against_running else own_platform()
            )
            with place as platform:
                result = _measure_or_void(platform, options, say, console)
    except (BenchError, CommandError, TimeoutError, RuntimeError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


def _measure_or_void(platform: Platform, options: Options, say: Say, console: Console) -> Result:
    try:
        return measure(platform, options, say, console)
    except VoidError as error:
        return Result("failover", read_machine(kafka=Settings().kafka_version), void=str(error))


if __name__ == "__main__":
    main()
