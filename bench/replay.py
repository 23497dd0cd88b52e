"""How fast the past is read: `python -m bench.replay --json`. README.md says how each figure is taken.

A broker of its own for the log on Kafka; files in a folder that is gone afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import psutil
from rich.console import Console

from bench.long_log import LongLog
from bench.recorded_day import Written, write_day
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
from streams.commands import CommandError
from streams.local.broker import LocalBroker
from streams.local.ports import find_free_ports
from streams.log_files import FileWriter, read_file
from streams.log_source import fold_entry, open_source
from streams.settings import Settings
from streams.travel.archive import Archive
from streams.travel.importing import import_log
from streams.travel.logs import KafkaLog, open_log
from streams.travel.searching import find_first
from tables.expressions import parse_expression
from tables.state import State

FOLD: Final = Target("fold_events_per_s", 150_000, "events per second", "higher", digits=0)
RATIO: Final = Target("kafka_fold_ratio", 0.5, "of a bare reader", "higher", digits=3)
STATE_AT: Final = Target("state_at_s_p99", 1.5, "s", digits=3)
BISECT: Final = Target("bisect_s", 5, "s", digits=3)
WHATIF: Final = Target("whatif_day_s", 60, "s")
RESIDENT: Final = Target("replay_resident_mib", 300, "MiB")

#: Records folded and read for the figures of the fold.
_FOLDED: Final = 200_000
_PREFIX: Final = "replay"
_ROOT: Final = Path(__file__).resolve().parent.parent

Say = Callable[[str], None]


def measure(folder: Path, *, events: int, hours: float, rounds: int, say: Say) -> Result:
    """All figures, one after the other."""
    notes: list[str] = []
    figures = [*_measure_logs(folder, events, rounds, say), *_measure_day(folder, hours, notes, say)]
    return Result("replay", read_machine(kafka=Settings().kafka_version), figures, notes=notes)


# --- the log -------------------------------------------------------------------------------------------


def _measure_logs(folder: Path, events: int, rounds: int, say: Say) -> list[Figure]:
    say(f"making a log of {events} events")
    path = folder / "log.jsonl"
    with FileWriter(path) as file:
        file.write(LongLog(nodes=100, apps=300).entries(events))
    say("folding it from the file")
    fold = make_figure(FOLD, [_fold_file(path, min(events, _FOLDED)) for _ in range(rounds)])
    port, controller_port = find_free_ports(2)
    broker = LocalBroker(folder / "kafka", port=port, controller_port=controller_port)
    broker.prepare()
    broker.start()
    try:
        say("writing it to Kafka")
        asyncio.run(import_log(broker.bootstrap, _PREFIX, path))
        return [fold, *asyncio.run(_measure_kafka(broker.bootstrap, folder, rounds, say))]
    finally:
        broker.stop()


def _fold_file(path: Path, count: int) -> float:
    state, begun_s = State(), time.perf_counter()
    for entry in read_file(path):
        fold_entry(state, entry)
        if entry.offset == count - 1:
            break
    return count / (time.perf_counter() - begun_s)


async def _measure_kafka(bootstrap: str, folder: Path, rounds: int, say: Say) -> list[Figure]:
    settings = Settings(bootstrap_servers=bootstrap, prefix=_PREFIX, data_dir=str(folder / "data"))
    async with open_log(settings) as log:
        assert isinstance(log, KafkaLog)
        say("folding it from Kafka")
        count = min(log.end, _FOLDED)
        ratios = [await _read_bare(bootstrap, count) / await _fold_kafka(log, count) for _ in range(rounds)]
        archive = Archive(settings.data_path, log)
        say("making the chapters of its archive")
        await archive.complete()
        say("asking for states and first events")
        chance, times = random.Random(1), []
        for _ in range(100):
            begun_s = time.perf_counter()
            await archive.state_at(chance.randrange(log.end))
            times.append(time.perf_counter() - begun_s)
        searches = [await _search(archive, log.end, chance) for _ in range(rounds)]
    return [
        make_figure(RATIO, ratios),
        make_figure(STATE_AT, [sorted(times)[98]]),
        make_figure(BISECT, searches),
    ]


async def _read_bare(bootstrap: str, count: int) -> float:
    """Seconds in which a bare client reads the records."""
    async with open_source(bootstrap, _PREFIX) as source:
        place, read = (source.topics.events, 0), 0
        begun_s = time.perf_counter()
        async for records in source.read({place: 0}, {place: count}):
            read += len(records)
        return time.perf_counter() - begun_s


async def _fold_kafka(log: KafkaLog, count: int) -> float:
    state, begun_s = State(), time.perf_counter()
    async for entries in log.batches(0, count):
        for entry in entries:
            fold_entry(state, entry)
    return time.perf_counter() - begun_s


async def _search(archive: Archive, end: int, chance: random.Random) -> float:
    state = await archive.state_at(end)
    app = chance.choice(sorted(state.apps))
    expression = parse_expression(f"app {app} on {state.apps[app].node}")
    begun_s = time.perf_counter()
    await find_first(archive, expression, start=0, end=end)
    return time.perf_counter() - begun_s


# --- a day ---------------------------------------------------------------------------------------------


def _measure_day(folder: Path, hours: float, notes: list[str], say: Say) -> list[Figure]:
    path = folder / "day.jsonl.zst"
    say(f"making {hours:g} hours of heartbeats of 100 nodes")
    written = write_day(path, hours=hours)
    say(f"deciding {written.beats} heartbeats again")
    begun_s, cpu_s = time.perf_counter(), _children_cpu_s()
    resident = asyncio.run(_decide_again(path, written))
    taken_s = time.perf_counter() - begun_s
    notes.append(
        f"{written.beats} heartbeats and {written.events} events of {hours:g} h, "
        f"{path.stat().st_size >> 20} MiB compressed, took {taken_s:.1f} s with the command's start, "
        f"and {_children_cpu_s() - cpu_s:.1f} s of CPU in all."
    )
    return [make_figure(WHATIF, [taken_s * 24 / hours]), make_figure(RESIDENT, [resident])]


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _decide_again(path: Path, written: Written) -> float:
    """Run `whatif` on the day and return the largest memory of its processes together, MiB."""
    command = [sys.executable, "cli.py", "whatif", "--set", "silence_limit_ms=6000"]
    process = await asyncio.create_subprocess_exec(
        *command, "--file", str(path), "-o", "json", cwd=_ROOT, stdout=asyncio.subprocess.PIPE
    )
    reading = asyncio.ensure_future(process.communicate())
    largest = 0.0
    while not reading.done():
        largest = max(largest, _resident_mib(process.pid))
        await asyncio.wait([reading], timeout=0.2)
    out, _ = await reading
    if process.returncode:
        raise BenchError(f"`whatif` ended with {process.returncode}.")
    _check(out, written)
    return largest


def _check(out: bytes, written: Written) -> None:
    """What was decided must be what is in the file: one false silence for each pause."""
    import msgspec

    found = msgspec.json.decode(out)
    false = found["columns"][0]["totals"]["false"]
    if (found["beats"], false) != (written.beats, written.pauses):
        raise BenchError(
            f"`whatif` read {found['beats']} heartbeats and found {false} false silences; "
            f"{written.beats} and {written.pauses} were written."
        )


def _resident_mib(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(float(each.memory_info().rss) for each in family) / (1 << 20)
    except psutil.NoSuchProcess:
        return 0.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--events", type=click.IntRange(1_000), default=1_000_000, show_default=True, help="Length of the log."
)
@click.option(
    "--hours",
    type=click.FloatRange(0.25),
    default=24.0,
    show_default=True,
    help="Length of the recording; the time is that of 24.",
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Of folds and searches.")
def main(*, as_json: bool, events: int, hours: float, rounds: int) -> None:
    """Measure folds, answers about the past, and a day that is decided again."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    console = Console(stderr=True, highlight=False)
    begun_s = time.monotonic()

    def say(text: str) -> None:
        if not as_json:
            console.print(f"[dim]{time.monotonic() - begun_s:6.1f}[/] {text}", soft_wrap=True)

    folder = Path(tempfile.mkdtemp(prefix="watchkeep-replay-"))
    try:
        result = measure(folder, events=events, hours=hours, rounds=rounds, say=say)
    except (BenchError, CommandError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
