"""Partitions shared by pairs of watchers, one of whom is killed: `python -m bench.shared --json`.

A Kafka of its own, one process that beats for everybody, four that watch. README.md says how each figure is taken.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.fleets import loader, watching
from bench.fleets.crowd import Size, node_name
from bench.fleets.judge import Found, Truth, Verdicts, judge
from bench.fleets.loader import Offered
from bench.fleets.runs import LoaderProcess, WatcherProcess, check_offered, run_broker, running
from bench.fleets.script import write_script
from bench.fleets.standing import read_found
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
from sdk.contract.policy import Policy
from sdk.contract.topics import WIDE_PARTITIONS, partition_of
from streams.commands import CommandError
from streams.settings import Settings
from streams.topics import ensure_topics
from tables.shares import share_out

_WATCHERS: Final = 4
_COPIES: Final = 2
#: All watchers have read everything to its end within this time, s.
_FRESH_WITHIN_S: Final = 120.0
#: After the last beat the watchers have this long to say what they found, s.
_LAST_S: Final = 1.0

Say = Callable[[str], None]


def measure(*, size: Size, duration_ms: int, seed: int, say: Say) -> Result:
    """One run.

    Raises:
        VoidError: The loader did not beat as such a fleet does.
    """
    machine = read_machine(kafka=Settings().kafka_version)
    outages = write_script(size, duration_ms=duration_ms, seed=seed)
    workers = [f"worker/shared/{number}" for number in range(1, _WATCHERS + 1)]
    shares = share_out(workers, copies=_COPIES)
    # Who watches most.
    dead = max(workers, key=lambda worker: len(shares[worker]))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="watchkeep-bench-")))
        bootstrap = stack.enter_context(run_broker(folder))
        prefix = f"shared-{uuid.uuid4().hex[:8]}"
        if faults := ensure_topics(bootstrap, prefix):
            raise BenchError(f"Topic {faults[0].topic}: {faults[0].fault}.")
        say(f"{_WATCHERS} watchers of {size.sources} sources")
        watching_ = {}
        for worker in workers:
            order = watching.Order(
                bootstrap,
                prefix,
                size,
                partitions=shares[worker],
                writer=worker,
                # The one that dies is the one that writes first: the others leave it 150 ms.
                leads=worker == dead,
                reads_log=True,
            )
            watching_[worker] = WatcherProcess(order)
            stack.enter_context(running(watching_[worker]))
        for process in watching_.values():
            process.wait_made()
        for process in watching_.values():
            process.begin()
        for process in watching_.values():
            process.wait_fresh(_FRESH_WITHIN_S)
        say(f"{size.sources} sources beat for {duration_ms // 1000} s; {len(outages)} outages")
        fleet = LoaderProcess(loader.Order(bootstrap, prefix, size, duration_ms, outages, seed))
        stack.enter_context(running(fleet))
        time.sleep(max(0.0, fleet.wait_begun() + duration_ms / 2000 - time.monotonic()))
        killed_ms = time.time_ns() // 1_000_000
        watching_[dead].kill()
        offered = fleet.wait()
        time.sleep(_LAST_S)
        for worker, process in watching_.items():
            if worker != dead:
                process.end()
        say("all that they wrote is folded once")
        found, dropped = read_found(bootstrap, prefix, size)
    check_offered(size, offered, outages)
    limit_ms = Policy().silence_limit_ms
    verdicts = judge(offered.truths, found, end_ms=offered.end_ms, limit_ms=limit_ms)
    over = over_after(offered.truths, found, verdicts, from_ms=killed_ms, limit_ms=limit_ms)
    bereft = set(shares[dead])
    of_the_dead = [ms for source, ms in over.items() if partition_of(_reporter_of(source)) in bereft]
    if not of_the_dead:
        raise BenchError(
            "Nothing was found in the partitions of the killed watcher, so there is no time to tell."
        )
    p99 = _p99(list(over.values()))
    return Result(
        bench="shared",
        machine=machine,
        figures=[
            make_figure(Target("shared_kill_over_limit_ms_p99", 500), [p99]),
            make_figure(Target("shared_missed_count", 0, ""), [len(verdicts.missed)]),
            make_figure(Target("shared_invented_count", 0, ""), [len(verdicts.invented)]),
        ],
        notes=_notes(size, offered, verdicts, dead, shares),
        detail={
            "found": {
                "outages": len(offered.truths),
                "found": len(verdicts.over_limit_ms),
                "after_kill": len(over),
                "after_kill_in_its_partitions": len(of_the_dead),
                "not_returned": len(verdicts.not_returned),
                "dropped_facts": dropped,
            },
            "over_limit_ms": {
                "all_p99": _p99(verdicts.over_limit_ms),
                "all_max": max(verdicts.over_limit_ms),
                "after_kill_max": max(over.values()),
                "after_kill_in_its_partitions_p99": _p99(of_the_dead),
            },
            "shares": {worker: len(share) for worker, share in shares.items()},
            "loader": {
                "late_ms_max": offered.late_ms_max,
                "on_time_ratio": 1 - offered.late / max(1, offered.records),
            },
        },
    )


def over_after(
    truths: list[Truth], found: list[Found], verdicts: Verdicts, *, from_ms: int, limit_ms: int
) -> dict[str, int]:
    """By source, how long over the limit it was found, ms, of those whose limit was over from a moment on."""
    first: dict[str, int] = {}
    for fact in found:
        if not fact.returned:
            first.setdefault(fact.source, fact.at_ms)
    invented = set(verdicts.invented)
    return {
        truth.source: first[truth.source] - truth.last_ms - limit_ms
        for truth in truths
        if truth.source in first and truth.source not in invented and truth.last_ms + limit_ms >= from_ms
    }


def _reporter_of(source: str) -> str:
    """Who speaks for a source: of an app its node."""
    if not source.startswith("application-"):
        return source
    return node_name(int(source.split("-")[1]))


def _p99(values: list[int]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))] if ordered else 0


def _notes(
    size: Size, offered: Offered, verdicts: Verdicts, dead: str, shares: dict[str, list[int]]
) -> list[str]:
    length_s = (offered.end_ms - offered.began_ms) / 1000
    notes = [
        (
            f"{size.nodes} nodes with {size.apps_per_node} apps each and {size.lone} lone sources, {length_s:.0f} s, "
            f"{offered.records} records; {_WATCHERS} watchers, each partition watched by {_COPIES}."
        ),
        f"{dead}, which led, was killed; {len(shares[dead])} of {WIDE_PARTITIONS} partitions had one watcher left.",
    ]
    notes += [
        f"{what}: {', '.join(names[:5])}"
        for what, names in (
            ("missed", verdicts.missed),
            ("invented", verdicts.invented),
            ("came back and nobody said so", verdicts.not_returned),
        )
        if names
    ]
    return notes


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--nodes", type=click.IntRange(0, 100_000), default=1_000, show_default=True)
@click.option("--apps-per-node", type=click.IntRange(0, 1_000), default=100, show_default=True)
@click.option("--lone", type=click.IntRange(0, 1_000_000), default=0, show_default=True, help="Lone sources.")
@click.option("--minutes", type=click.FloatRange(1, 60), default=2.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Who falls silent, and when.")
def main(*, as_json: bool, nodes: int, apps_per_node: int, lone: int, minutes: float, seed: int) -> None:
    """Let four watchers share the partitions in pairs, kill one with -9, and measure what the others find."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    if not nodes and not lone:
        raise click.UsageError("--nodes and --lone are both 0: there is nobody to watch.")
    size = Size(nodes, apps_per_node if nodes else 0, lone)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    machine = read_machine(kafka=Settings().kafka_version)
    try:
        with Progress(*columns, console=console, transient=True, disable=as_json) as progress:
            task = progress.add_task("a Kafka starts", total=None)
            result = measure(
                size=size,
                duration_ms=round(minutes * 60_000),
                seed=seed,
                say=lambda what: progress.update(task, description=what),
            )
    except VoidError as error:
        result = Result(bench="shared", machine=machine, void=str(error))
    except (BenchError, CommandError, RuntimeError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
