"""How long a watcher takes to a first correct fact, and after minutes away: `python -m bench.starts --json`.

A Kafka of its own, one process that beats for everybody, one that watches. README.md says how each figure is taken.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.fleets import loader, watching
from bench.fleets.crowd import Size
from bench.fleets.judge import GRACE_MS, Truth, judge
from bench.fleets.loader import Offered
from bench.fleets.runs import LoaderProcess, WatcherProcess, check_offered, run_broker, running
from bench.fleets.script import write_script
from bench.fleets.watching import Fresh
from bench.results import (
    COULD_NOT,
    BenchError,
    Figure,
    Result,
    Target,
    VoidError,
    make_figure,
    print_result,
    read_machine,
)
from sdk.contract.policy import Policy
from sdk.contract.topics import WIDE_PARTITIONS
from streams.commands import CommandError
from streams.core.heartbeats import COUNT_BACK_MS
from streams.core.snapshots import SAVE_ALL_WITHIN
from streams.settings import Settings
from streams.topics import ensure_topics

#: The topic has records of all that a fresh watcher counts back, and some, before one starts, s.
_FILL_S: Final = COUNT_BACK_MS / 1000 + 5
#: A watcher has saved every partition once after this long, s, with some to spare.
_SAVED_S: Final = SAVE_ALL_WITHIN + 4.0
#: A start that takes longer is none, s.
_FRESH_WITHIN_S: Final = 300.0
#: Before the watcher is away, and after it is back: the silence limit, the grace, quiet ends of the script, and what
#: catching up may take, s.
_BEFORE_S: Final = 25.0
_AFTER_S: Final = 60.0
#: After the last beat the watcher has this long to say what it found, s.
_LAST_S: Final = 1.0
#: What the goals are for.
_GOAL_SOURCES: Final = 1_000_000
#: The loader of starts beats no longer than this, ms; it is ended before.
_LONGEST_MS: Final = 3_600_000

Say = Callable[[str], None]


class Starts(NamedTuple):
    """One part: a fleet, and the figures that are taken with it."""

    #: Names of the figures: without and with its disk, and after minutes away.
    cold: Target
    warm: Target | None
    catch_up: Target
    counts: str


DIGEST: Final = Starts(
    Target("cold_start_s", 10, "s", digits=2),
    Target("warm_start_s", 3, "s", digits=2),
    Target("catch_up_ratio", 20, "", "higher"),
    "catch_up",
)
LONE: Final = Starts(
    Target("cold_start_lone_s", 30, "s", digits=2),
    None,
    Target("catch_up_lone_ratio", 1.5, "", "higher"),
    "catch_up_lone",
)


class Part(NamedTuple):
    """What one part gave."""

    figures: list[Figure]
    notes: list[str]
    detail: dict[str, float]


class Bench:
    """One run on one broker."""

    def __init__(self, bootstrap: str, folder: Path, *, seed: int, say: Say) -> None:
        self._bootstrap, self._folder, self._seed, self._say = bootstrap, folder, seed, say

    def starts(self, part: Starts, size: Size, rounds: int) -> Part:
        """A watcher starts without its disk and, after it was killed, with it, while the fleet beats."""
        prefix = self._topics()
        cold: list[Fresh] = []
        warm: list[Fresh] = []
        fleet = LoaderProcess(loader.Order(self._bootstrap, prefix, size, _LONGEST_MS, [], self._seed))
        with running(fleet):
            self._say(f"{size.sources} sources beat for {_FILL_S:.0f} s before anybody watches")
            _sleep_until(fleet.wait_begun() + _FILL_S)
            for number in range(1, rounds + 1):
                self._say(f"{size.sources} sources: start {number} of {rounds}")
                self._start(part, prefix, size, cold, warm)
            offered = fleet.end()
        check_offered(size, offered)
        figures = [make_figure(part.cold, [it.ms / 1000 for it in cold])]
        if part.warm is not None:
            figures.append(make_figure(part.warm, [it.ms / 1000 for it in warm]))
        short = [it for it in warm if it.from_disk < WIDE_PARTITIONS]
        notes = [f"{len(short)} warm starts had to read partitions anew." for _ in short[:1]]
        return Part(
            figures,
            notes,
            {
                **_of_starts("cold", cold),
                **(_of_starts("warm", warm) if warm else {}),
                **_of_loader(offered),
            },
        )

    def _start(self, part: Starts, prefix: str, size: Size, cold: list[Fresh], warm: list[Fresh]) -> None:
        folder = tempfile.mkdtemp(dir=self._folder)
        order = watching.Order(self._bootstrap, prefix, size, folder=folder)
        first = WatcherProcess(order)
        with running(first):
            first.wait_made()
            first.begin()
            cold.append(first.wait_fresh(_FRESH_WITHIN_S))
            if part.warm is None:
                return
            until_s = time.monotonic() + _SAVED_S
            second = WatcherProcess(order)
            with running(second):
                second.wait_made()
                _sleep_until(until_s)
                first.kill()
                second.begin()
                warm.append(second.wait_fresh(_FRESH_WITHIN_S))

    def catch_up(self, part: Starts, size: Size, away_s: float) -> Part:
        """A watcher is killed, the fleet beats on without one, and another goes on from its disk."""
        prefix = self._topics()
        duration_ms = round(1000 * (_BEFORE_S + away_s + _AFTER_S))
        outages = write_script(size, duration_ms=duration_ms, seed=self._seed)
        order = watching.Order(self._bootstrap, prefix, size, folder=tempfile.mkdtemp(dir=self._folder))
        self._say(f"{size.sources} sources: a watcher of whom the next has the disk")
        before = WatcherProcess(order)
        fleet = LoaderProcess(loader.Order(self._bootstrap, prefix, size, duration_ms, outages, self._seed))
        with running(before, fleet):
            before.wait_made()
            began_s = fleet.wait_begun()
            before.begin()
            _sleep_until(began_s + _BEFORE_S)
            before.kill()
            killed_s = time.monotonic()
            self._say(f"{size.sources} sources beat for {away_s / 60:g} min and nobody watches")
            after = WatcherProcess(order)
            with running(after):
                after.wait_made()
                _sleep_until(began_s + _BEFORE_S + away_s)
                stretch_s = time.monotonic() - killed_s
                after.begin()
                fresh = after.wait_fresh(_AFTER_S)
                fresh_ms = time.time_ns() // 1_000_000
                self._say(f"{size.sources} sources: who has died meanwhile is found")
                offered = fleet.wait()
                _sleep_until(time.monotonic() + _LAST_S)
                watched = after.end()
        check_offered(size, offered, outages)
        limit_ms = Policy().silence_limit_ms
        verdicts = judge(offered.truths, watched.found, end_ms=offered.end_ms, limit_ms=limit_ms)
        owed = who_must_be_found(offered.truths, fresh_ms=fresh_ms, end_ms=offered.end_ms, limit_ms=limit_ms)
        missed = sorted(set(verdicts.missed) & owed)
        notes = [
            f"{what}: {', '.join(names[:5])}"
            for what, names in (("missed", missed), ("invented", verdicts.invented))
            if names
        ]
        return Part(
            [
                make_figure(part.catch_up, [stretch_s / (fresh.ms / 1000)]),
                make_figure(Target(f"{part.counts}_invented_count", 0, ""), [len(verdicts.invented)]),
                make_figure(Target(f"{part.counts}_missed_count", 0, ""), [len(missed)]),
            ],
            notes,
            {
                **_of_starts("start", [fresh]),
                "away_s": stretch_s,
                "read_ratio": min(stretch_s, COUNT_BACK_MS / 1000) / (fresh.ms / 1000),
                "outages": len(offered.truths),
                "owed": len(owed),
                "found": len(verdicts.over_limit_ms),
                **_of_loader(offered),
            },
        )

    def _topics(self) -> str:
        prefix = f"starts-{uuid.uuid4().hex[:8]}"
        if faults := ensure_topics(self._bootstrap, prefix):
            raise BenchError(f"Topic {faults[0].topic}: {faults[0].fault}.")
        return prefix


def who_must_be_found(truths: list[Truth], *, fresh_ms: int, end_ms: int, limit_ms: int) -> set[str]:
    """Who was silent for the limit and the grace while somebody watched who was up to date.

    What came and went while nobody watched is no fact: only ticks of watchers close sessions.
    """
    return {
        truth.source
        for truth in truths
        if max(truth.last_ms, fresh_ms) + limit_ms + GRACE_MS <= (truth.back_ms or end_ms)
    }


def measure(*, digests: Size, lone: Size, rounds: int, away_minutes: float, seed: int, say: Say) -> Result:
    """All parts; one that is void or could not run is left out and noted.

    Raises:
        VoidError: There was no other.
    """
    machine = read_machine(kafka=Settings().kafka_version)
    figures: list[Figure] = []
    notes: list[str] = []
    detail: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as name:
        for what, part, size in (("digest", DIGEST, digests), ("lone", LONE, lone)):
            if not size.sources:
                continue
            notes.append(
                f"{what}: {size.nodes} nodes with {size.apps_per_node} apps each and {size.lone} lone sources, "
                f"away for {away_minutes:g} min."
            )
            if size.sources < _GOAL_SOURCES:
                notes.append(
                    f"{what}: the goals are for {_GOAL_SOURCES:,} sources, these are {size.sources:,}."
                )
            # A broker each: what the other left in its cache is no part of it.
            folder = Path(tempfile.mkdtemp(dir=name))
            with run_broker(folder) as bootstrap:
                bench = Bench(bootstrap, folder, seed=seed, say=say)
                works: dict[str, Callable[[], Part]] = {
                    "starts": partial(bench.starts, part, size, rounds),
                    "catch_up": partial(bench.catch_up, part, size, away_minutes * 60),
                }
                for of, work in works.items():
                    try:
                        done = work()
                    except (VoidError, BenchError) as error:
                        # Half an hour of the other parts is not lost with it.
                        notes.append(f"{what} {of} has no figures: {error}")
                        continue
                    figures += done.figures
                    notes += done.notes
                    detail[f"{what}_{of}"] = done.detail
    if not figures:
        raise VoidError(" ".join(notes))
    return Result(bench="starts", machine=machine, figures=figures, notes=notes, detail=detail)


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))


def _of_starts(name: str, starts: list[Fresh]) -> dict[str, float]:
    last = starts[-1]
    return {
        f"{name}_ms": last.ms,
        f"{name}_cpu_ms": last.cpu_ms,
        f"{name}_records": last.records,
        f"{name}_from_disk": last.from_disk,
    }


def _of_loader(offered: Offered) -> dict[str, float]:
    length_s = (offered.end_ms - offered.began_ms) / 1000
    return {
        "loader_records_per_s": offered.records / length_s,
        "loader_late_ms_max": offered.late_ms_max,
        "loader_on_time_ratio": 1 - offered.late / max(1, offered.records),
    }


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--nodes", type=click.IntRange(0, 500_000), default=10_000, show_default=True)
@click.option("--apps-per-node", type=click.IntRange(0, 1_000), default=100, show_default=True)
@click.option("--lone", type=click.IntRange(0, 2_000_000), default=1_000_000, show_default=True)
@click.option(
    "--rounds", type=click.IntRange(1, 20), default=3, show_default=True, help="Starts of each kind."
)
@click.option("--away-minutes", type=click.FloatRange(0.5, 60), default=10.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Who falls silent, and when.")
def main(
    *, as_json: bool, nodes: int, apps_per_node: int, lone: int, rounds: int, away_minutes: float, seed: int
) -> None:
    """Measure how soon a watcher that starts can say a first correct fact, and how it catches up.

    With --nodes 0 or --lone 0 that part is left out.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    if not nodes and not lone:
        raise click.UsageError("--nodes and --lone are both 0: there is nobody to watch.")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    machine = read_machine(kafka=Settings().kafka_version)
    try:
        with Progress(*columns, console=console, transient=True, disable=as_json) as progress:
            task = progress.add_task("a Kafka starts", total=None)
            result = measure(
                digests=Size(nodes, apps_per_node if nodes else 0, 0),
                lone=Size(0, 0, lone),
                rounds=rounds,
                away_minutes=away_minutes,
                seed=seed,
                say=lambda what: progress.update(task, description=what),
            )
    except VoidError as error:
        result = Result(bench="starts", machine=machine, void=str(error))
    except (BenchError, CommandError, RuntimeError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
