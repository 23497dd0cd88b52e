"""What a beat of a lone source costs a watcher, next to a bare reader: `python -m bench.watcher --json`.

A Kafka of its own with topics that are filled beforehand. README.md says how each figure is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

import click
import msgspec
from aiokafka import TopicPartition
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.fleets import filling, reading
from bench.fleets.filling import Filled
from bench.fleets.reading import Read, Way
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
from sdk.contract.topics import Topics, topic_specs
from streams.clients import create_reader, end_offsets, start_clients
from streams.commands import CommandError
from streams.local.broker import LocalBroker
from streams.local.ports import find_free_ports
from streams.settings import Settings
from streams.topics import ensure_topics

RATIO_1K: Final = Target("lone_vs_raw_ratio_1k", 0.7, "of a bare reader", "higher", digits=3)
RATIO_300K: Final = Target("lone_vs_raw_ratio_300k", 0.6, "of a bare reader", "higher", digits=3)
GROWTH: Final = Target("growth_ratio", 1.3, "times")
WRITES: Final = Target("writes_per_beat", 0, "records", digits=6)

#: Sources of each topic: few, many, and as many as one machine shall hold.
FEW: Final = 1_000
MANY: Final = 300_000
ALL: Final = 1_000_000
#: Measured beats of a topic: every source twice at least, but of the million, whose second beat they are.
BEATS: Final = {FEW: 600_000, MANY: 600_000, ALL: 1_000_000}
#: A child that needs longer than this is stuck, s.
_WITHIN_S: Final = 600.0
#: Where a million beats a topic fit; the broker is to keep them all until the end.
_BROKER: Final = {"log.retention.bytes": "-1", "log.retention.ms": "-1", "num.network.threads": "2"}

_Decoded = TypeVar("_Decoded")
Say = Callable[[str], None]


class Topic(msgspec.Struct, frozen=True):
    """A filled one."""

    prefix: str
    lone: int
    filled: Filled


class Bench:
    """Everything that is measured on one broker."""

    def __init__(self, bootstrap: str, *, seed: int, say: Say) -> None:
        self._bootstrap = bootstrap
        self._seed = seed
        self._say = say
        #: (sources, way) -> what each round gave.
        self.reads: dict[tuple[int, Way], list[Read]] = {}
        self.writes: list[float] = []

    def fill(self, lone: int) -> Topic:
        """Write the topic of so many sources."""
        self._say(f"{lone} sources beat")
        prefix = f"watcher-{uuid.uuid4().hex[:8]}"
        if faults := ensure_topics(self._bootstrap, prefix):
            raise BenchError(f"Topic {faults[0].topic}: {faults[0].fault}.")
        order = filling.Order(self._bootstrap, prefix, lone, BEATS[lone], self._seed)
        return Topic(prefix, lone, _run("bench.fleets.filling", order, Filled))

    def read(self, topic: Topic, way: Way) -> None:
        """Read it once, in one way."""
        self._say(f"{topic.lone} sources, {way}")
        before = asyncio.run(_count_others(self._bootstrap, topic.prefix)) if way == "watch" else 0
        order = reading.Order(self._bootstrap, topic.prefix, topic.lone, topic.filled, way)
        read = _run("bench.fleets.reading", order, Read)
        if way == "watch":
            if read.sessions != topic.lone or read.found:
                raise VoidError(
                    f"Of {topic.lone} sources the watcher knew {read.sessions} and found {read.found} facts."
                )
            after = asyncio.run(_count_others(self._bootstrap, topic.prefix))
            self.writes.append((after - before) / read.records)
        self.reads.setdefault((topic.lone, way), []).append(read)

    def cpu_us(self, lone: int, way: Way) -> list[float]:
        """CPU time per record of each round, us."""
        return [1e6 * read.cpu_s / read.records for read in self.reads[lone, way]]

    def ratios(self, lone: int, way: Way) -> list[float]:
        """Records per CPU second of the watcher over those of another way, round by round."""
        ours, theirs = self.cpu_us(lone, "watch"), self.cpu_us(lone, way)
        return [other / own for own, other in zip(ours, theirs, strict=True)]


def _run(module: str, order: msgspec.Struct, kind: type[_Decoded]) -> _Decoded:
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=msgspec.json.encode(order),
        capture_output=True,
        check=False,
        timeout=_WITHIN_S,
    )
    if done.returncode:
        last = (done.stderr.decode().strip().splitlines() or ["nothing"])[-1]
        raise BenchError(f"{module} ended with code {done.returncode} and said: {last}")
    return msgspec.json.decode(done.stdout, type=kind)


async def _count_others(bootstrap: str, prefix: str) -> int:
    """Records that were ever appended to any topic of a prefix but the heartbeats."""
    names = [spec for spec in topic_specs(prefix) if spec.name != Topics(prefix).heartbeats]
    partitions = [TopicPartition(spec.name, at) for spec in names for at in range(spec.partitions)]
    reader = create_reader(bootstrap)
    await start_clients(reader)
    try:
        return sum((await end_offsets(reader, partitions)).values())
    finally:
        await reader.stop()


def measure(*, rounds: int, seed: int, say: Say) -> Result:
    """Fill the topics, then read them in turn."""
    machine = read_machine(kafka=Settings().kafka_version)
    ways: list[Way] = ["raw", "watch"]
    if importlib.util.find_spec("confluent_kafka") is not None:
        ways.append("confluent")
    with tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder, _broker(Path(folder)) as bootstrap:
        bench = Bench(bootstrap, seed=seed, say=say)
        topics = {lone: bench.fill(lone) for lone in (FEW, MANY, ALL)}
        for number in range(rounds):
            for lone in (FEW, MANY):
                # Who comes first alternates too: whatever else the machine does hits both.
                for way in ways if number % 2 else ways[::-1]:
                    bench.read(topics[lone], way)
            bench.read(topics[ALL], "watch")
    return Result(
        bench="watcher",
        machine=machine,
        figures=_figures(bench),
        notes=[
            f"{BEATS[lone]} measured beats of {lone} sources, written in {topics[lone].filled.seconds:.0f} s."
            for lone in (FEW, MANY, ALL)
        ],
        detail=_detail(bench),
    )


def _figures(bench: Bench) -> list[Figure]:
    grown = zip(bench.cpu_us(ALL, "watch"), bench.cpu_us(FEW, "watch"), strict=True)
    return [
        make_figure(RATIO_1K, bench.ratios(FEW, "raw")),
        make_figure(RATIO_300K, bench.ratios(MANY, "raw")),
        make_figure(GROWTH, [many / few for many, few in grown]),
        make_figure(WRITES, bench.writes),
    ]


def _detail(bench: Bench) -> dict[str, dict[str, float]]:
    cpu_us: dict[str, dict[str, float]] = {}
    for lone, way in bench.reads:
        cpu_us.setdefault(f"{way}_cpu_us_per_record", {})[str(lone)] = median(bench.cpu_us(lone, way))
    if (FEW, "confluent") in bench.reads:
        cpu_us["vs_confluent_ratio"] = {str(it): median(bench.ratios(it, "confluent")) for it in (FEW, MANY)}
    return cpu_us


@contextlib.contextmanager
def _broker(folder: Path) -> Iterator[str]:
    port, controller_port = find_free_ports(2)
    broker = LocalBroker(
        folder / "kafka", port=port, controller_port=controller_port, heap_mib=512, extra=_BROKER
    )
    broker.start()
    try:
        yield broker.bootstrap
    finally:
        broker.kill()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The order in which sources beat.")
def main(*, as_json: bool, rounds: int, seed: int) -> None:
    """Read topics of 1,000, 300,000 and 1,000,000 lone sources, as a watcher does and barely."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    machine = read_machine(kafka=Settings().kafka_version)
    try:
        with Progress(*columns, console=console, transient=True, disable=as_json) as progress:
            task = progress.add_task("a Kafka starts", total=None)
            result = measure(
                rounds=rounds, seed=seed, say=lambda what: progress.update(task, description=what)
            )
    except VoidError as error:
        result = Result(bench="watcher", machine=machine, void=str(error))
    except (BenchError, CommandError, RuntimeError, subprocess.TimeoutExpired) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
