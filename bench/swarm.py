"""Docker Swarm and Watchkeep, the same faults on the same machine: `python -m bench.swarm --json`.

A swarm of a manager and three workers in network namespaces of their own; then `bench.failover`. README.md says how
each figure is taken.
"""

from __future__ import annotations

import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.results import (
    COULD_NOT,
    BenchError,
    Figure,
    Result,
    Target,
    make_figure,
    print_result,
    read_machine,
)
from bench.returning.spaces import Hub
from bench.swarming.machines import swarm_of
from bench.swarming.rounds import SCENARIOS, Beats, Rounds
from streams.commands import CommandError
from streams.settings import Settings

WORKERS: Final = 3
#: As an operator in a hurry would set it: the heartbeat of its dispatcher, s, and the pause before a new task.
TUNED_HEARTBEAT_S: Final = 1.0
#: Swarm's scenario -> the rounds of `bench.failover` and the figure there. What an operator calls the monitor of Swarm
#: is its manager, which is the store of its state too: ours are the leading worker, or the broker.
OURS: Final = {
    "node_killed": (("node_killed", "node_killed_recovered_ms_p50"),),
    "node_silence": (("node_silence", "node_silence_found_and_recovered_ms_p50"),),
    "monitor_and_node": (
        ("worker_and_node_killed", "worker_and_node_recovered_ms_p50"),
        ("broker_and_node_killed", "broker_and_node_recovered_ms_p50"),
    ),
}
_ROOT: Final = Path(__file__).resolve().parent.parent

Say = Callable[[str], None]


def measure(*, rounds: int, tuned: bool, say: Say) -> Result:
    """All rounds of both."""
    figures, notes = [], []
    ours = _ours(rounds, say)
    for kind in ("default", "tuned") if tuned else ("default",):
        values, failures = _swarm(kind, rounds, say)
        notes += [f"Swarm, {kind}: {failure}" for failure in failures]
        for (scenario, what), times in values.items():
            name = f"swarm_{kind}_{scenario}_{what}_ms_p50"
            figures.append(make_figure(Target(name, 0, better="higher", digits=0), times))
        if kind == "default":
            figures += _ratios(values, ours)
    return Result(
        "swarm",
        read_machine(kafka=Settings().kafka_version),
        figures=[*(it for it in ours.values()), *figures],
        notes=[
            f"Swarm {_version()}: one manager, {WORKERS} workers, 4 tasks that beat every 100 ms, in host networks.",
            f"Tuned: a heartbeat of {TUNED_HEARTBEAT_S:g} s and no pause before a new task.",
            *notes,
        ],
    )


def _swarm(kind: str, rounds: int, say: Say) -> tuple[dict[tuple[str, str], list[float]], list[str]]:
    def tell(what: str) -> None:
        say(f"Swarm, {kind}: {what}")

    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="watchkeep-swarm-", dir="/var/tmp"))
        )
        hub = stack.enter_context(Hub())
        swarm = stack.enter_context(swarm_of(hub.name, folder, workers=WORKERS, say=tell))
        if kind == "tuned":
            manager = swarm.manager.api.swarm
            manager.reload()
            manager.update(dispatcher_heartbeat_period=round(TUNED_HEARTBEAT_S * 1e9))
        beats = stack.enter_context(Beats())
        told = Rounds(swarm, beats, restart_delay_s=0.0 if kind == "tuned" else None)
        told.begin()
        for number in range(1, rounds + 1):
            for scenario in SCENARIOS:
                tell(f"{scenario}, round {number} of {rounds}")
                told.run(scenario)
        told.end()
        return told.values, told.failures


def _ours(rounds: int, say: Say) -> dict[str, Figure]:
    """The figures of `bench.failover` for the same faults."""
    say("Watchkeep: bench.failover")
    kinds = [kind for pairs in OURS.values() for kind, _ in pairs]
    words = [word for kind in kinds for word in ("--only", kind)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.failover", "--json", "--no-load", "--rounds", str(rounds), *words],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"bench.failover ended with code {done.returncode}.")
    figures = msgspec.json.decode(done.stdout, type=Result).figures or []
    wanted = {name for pairs in OURS.values() for _, name in pairs}
    return {it.name: it for it in figures if it.name in wanted}


def _ratios(values: dict[tuple[str, str], list[float]], ours: dict[str, Figure]) -> list[Figure]:
    """Until all beat again: Swarm's time over ours."""
    found = []
    for scenario, pairs in OURS.items():
        times = values.get((scenario, "recovered"))
        for kind, name in pairs:
            if times and name in ours:
                target = Target(f"swarm_over_ours_{kind}_ratio", 1, "", "higher")
                found.append(make_figure(target, [statistics.median(times) / ours[name].value]))
    return found


def _version() -> str:
    done = subprocess.run(["dockerd", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix("Docker version ").split(",")[0]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds of each kind.")
@click.option("--tuned/--no-tuned", default=True, show_default=True, help="Also a swarm tuned for speed.")
def main(*, as_json: bool, rounds: int, tuned: bool) -> None:
    """Kill and stop machines of a Docker Swarm and nodes of Watchkeep, and compare how fast they come back."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    try:
        with Progress(*columns, console=console, transient=True, disable=as_json) as progress:
            task = progress.add_task("beginning", total=None)
            result = measure(
                rounds=rounds, tuned=tuned, say=lambda what: progress.update(task, description=what)
            )
    except (BenchError, CommandError, TimeoutError, RuntimeError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
