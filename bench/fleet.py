"""A fleet that beats at its real rate, and what its watcher finds and costs: `python -m bench.fleet --json`.

A Kafka of its own, one process that beats for everybody, one that watches. README.md says how each figure is taken.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.fleets import loader, watching
from bench.fleets.crowd import Size
from bench.fleets.judge import Verdicts, judge
from bench.fleets.loader import Offered
from bench.fleets.script import Outage, write_script
from bench.fleets.watching import Look, Watched
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
from streams.commands import CommandError
from streams.local.broker import LocalBroker
from streams.local.ports import find_free_ports
from streams.settings import Settings
from streams.topics import ensure_topics

#: How much faster than asked the loader beats when it proves that it can, and how long, s.
PROOF_SPEED: Final = 2.0
_PROOF_S: Final = 10.0
#: Share of that speed it must reach until its last record is acknowledged: what is late then was not offered.
PROOF_MIN: Final = 0.95
#: Share of the records that must be acknowledged in time (`loader.LATE_MS`).
ON_TIME_MIN: Final = 0.99
#: How long the small fleet beats whose memory is taken from that of the whole one, ms: all have said a full report.
_SMALL_MS: Final = 12_000
#: After this everybody has beaten and what starts a run is over, ms: what it costs is taken from here on.
STEADY_MS: Final = 10_000
#: After the last beat the watcher has this long to say what it found, s.
_AFTER_S: Final = 1.0
#: Heartbeats are thrown away as they age, or a long run fills the disk: four segments a partition.
_BROKER: Final = {
    "log.segment.bytes": str(64 << 20),
    "log.retention.bytes": str(256 << 20),
    "log.retention.check.interval.ms": "5000",
    "log.segment.delete.delay.ms": "1000",
    "num.network.threads": "2",
}

#: Of the histogram of detection times.
STEP_MS: Final = 50
OVER: Final = ("over_limit_ms_p99", 500.0, 1_000.0)
HELD: Final = Target("loop_block_ms_max", 50)

Say = Callable[[str], None]


def measure(*, size: Size, duration_ms: int, seed: int, say: Say) -> Result:
    """One run.

    Raises:
        VoidError: the loader cannot, or did not, beat at the rate of such a fleet.
    """
    machine = read_machine(kafka=Settings().kafka_version)
    outages = write_script(size, duration_ms=duration_ms, seed=seed)
    with tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder, _broker(Path(folder)) as bootstrap:
        say("the loader proves alone that it can beat twice as fast")
        # Twice the schedule in half the time.
        proof_ms = int(_PROOF_S * 1000 * PROOF_SPEED)
        proof = _load(bootstrap, size, proof_ms, [], seed, speed=PROOF_SPEED)
        _check_proof(proof)
        say("a fleet of a hundredth, for what a watcher holds without one")
        small = _hundredth(size)
        _, base = _watch(bootstrap, small, _SMALL_MS, [], seed)
        say(f"{size.sources} sources beat for {duration_ms // 1000} s; {len(outages)} outages")
        offered, watched = _watch(bootstrap, size, duration_ms, outages, seed)
    _check_offered(offered)
    verdicts = judge(offered.truths, watched.found, end_ms=offered.end_ms, limit_ms=Policy().silence_limit_ms)
    return Result(
        bench="fleet",
        machine=machine,
        figures=_figures(size, offered, watched, verdicts, _bytes_per_source((size, watched), (small, base))),
        notes=_notes(size, offered, watched, verdicts),
        detail={
            "loader": {
                "records_per_s": offered.records / _length_s(offered),
                "value_bytes_per_s": offered.value_bytes / _length_s(offered),
                "on_time_ratio": _on_time(offered),
                "proof_speed_ratio": _speed(proof),
                "proof_records_per_s": proof.records / _length_s(proof),
                "core_percent": 100 * offered.cpu_s / _length_s(offered),
            },
            "watcher": {
                "lag_ms_p50": statistics.median(look.lag_ms for look in _steady(offered, watched)),
                "lag_ms_max": max(look.lag_ms for look in _steady(offered, watched)),
                "held_ms_p50": statistics.median(look.held_ms for look in _steady(offered, watched)),
                "held_cpu_ms_p50": statistics.median(look.held_cpu_ms for look in _steady(offered, watched)),
                "held_cpu_ms_max": max(look.held_cpu_ms for look in _steady(offered, watched)),
                "resident_mib": watched.looks[-1].resident_mib,
                "resident_before_mib": watched.resident_mib,
                "cpu_us_per_record": _cpu_us(offered, watched),
            },
            "size": {"sources": size.sources, "lone": size.lone},
            "over_limit_histogram": _histogram(verdicts.over_limit_ms),
            "truth": {
                "outages": len(offered.truths),
                "found": len(verdicts.over_limit_ms),
                "not_returned": len(verdicts.not_returned),
            },
        },
    )


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


def _load(
    bootstrap: str, size: Size, duration_ms: int, outages: list[Outage], seed: int, *, speed: float = 1.0
) -> Offered:
    """Let a loader beat into topics of its own."""
    prefix = _make_topics(bootstrap)
    order = loader.Order(bootstrap, prefix, size, duration_ms, outages, seed, speed)
    return _run_loader(order)


def _run_loader(order: loader.Order) -> Offered:
    done = subprocess.run(
        [sys.executable, "-m", "bench.fleets.loader"],
        input=msgspec.json.encode(order),
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"The loader ended with code {done.returncode}.")
    return msgspec.json.decode(done.stdout, type=Offered)


def _make_topics(bootstrap: str) -> str:
    prefix = f"fleet-{uuid.uuid4().hex[:8]}"
    if faults := ensure_topics(bootstrap, prefix):
        raise BenchError(f"Topic {faults[0].topic}: {faults[0].fault}.")
    return prefix


def _watch(
    bootstrap: str, size: Size, duration_ms: int, outages: list[Outage], seed: int
) -> tuple[Offered, Watched]:
    prefix = _make_topics(bootstrap)
    watcher = subprocess.Popen(
        [sys.executable, "-m", "bench.fleets.watching"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert watcher.stdin is not None
    assert watcher.stderr is not None
    try:
        watcher.stdin.write(msgspec.json.encode(watching.Order(bootstrap, prefix, size)) + b"\n")
        watcher.stdin.flush()
        if watcher.stderr.readline() != b"ready\n":
            raise BenchError("The watcher did not start.")
        offered = _run_loader(loader.Order(bootstrap, prefix, size, duration_ms, outages, seed))
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Ends only if it broke.
            watcher.wait(_AFTER_S)
        out, err = watcher.communicate()
    finally:
        watcher.kill()
        watcher.wait()
    if watcher.returncode:
        last = (err.decode().strip().splitlines() or ["nothing"])[-1]
        raise BenchError(f"The watcher ended with code {watcher.returncode} and said: {last}")
    return offered, msgspec.json.decode(out, type=Watched)


def _check_proof(proof: Offered) -> None:
    if _speed(proof) < PROOF_MIN:
        raise VoidError(
            f"Alone and at {PROOF_SPEED:g} times the rate the loader reached only {_speed(proof):.1%} of it."
        )


def _speed(proof: Offered) -> float:
    """Which part of the speed it reached that was asked of it."""
    return _PROOF_S / _length_s(proof)


def _check_offered(offered: Offered) -> None:
    if _on_time(offered) < ON_TIME_MIN:
        raise VoidError(
            f"Only {_on_time(offered):.1%} of the records were acknowledged within {loader.LATE_MS} ms "
            f"of their time, the latest after {offered.late_ms_max} ms."
        )


def _on_time(offered: Offered) -> float:
    return 1 - offered.late / max(1, offered.records)


def _length_s(offered: Offered) -> float:
    return (offered.end_ms - offered.began_ms) / 1000


def _steady(offered: Offered, watched: Watched) -> list[Look]:
    return [look for look in watched.looks if offered.began_ms + STEADY_MS <= look.at_ms <= offered.end_ms]


def _core_percent(offered: Offered, watched: Watched) -> list[float]:
    """Share of one core, for each ten seconds of the steady part."""
    looks = _steady(offered, watched)
    parts = [*looks[::10], looks[-1]]
    return [
        100_000 * (b.cpu_s - a.cpu_s) / (b.at_ms - a.at_ms)
        for a, b in itertools.pairwise(parts)
        if b.at_ms - a.at_ms > 2_000  # the rest of a division is no measurement
    ]


def _cpu_us(offered: Offered, watched: Watched) -> float:
    looks = _steady(offered, watched)
    return 1e6 * (looks[-1].cpu_s - looks[0].cpu_s) / max(1, looks[-1].records - looks[0].records)


def _hundredth(size: Size) -> Size:
    return Size(-(-size.nodes // 100), size.apps_per_node, -(-size.lone // 100))


def _histogram(times_ms: Sequence[float]) -> dict[str, float]:
    """Lower end of each step of `STEP_MS` -> how many times fell into it."""
    counts = Counter(int(time_ms // STEP_MS) * STEP_MS for time_ms in times_ms)
    return {str(low): float(count) for low, count in sorted(counts.items())}


def _bytes_per_source(all_: tuple[Size, Watched], few: tuple[Size, Watched]) -> float:
    """Slope of the resident memory from the small fleet to the whole one; both hold the same clients and buffers."""
    (size, watched), (small, base) = all_, few
    if size.sources <= small.sources:
        return 0.0
    grown_mib = [it.looks[-1].resident_mib - it.resident_mib for it in (watched, base)]
    return max(0.0, grown_mib[0] - grown_mib[1]) * (1 << 20) / (size.sources - small.sources)


def _figures(
    size: Size, offered: Offered, watched: Watched, verdicts: Verdicts, bytes_per_source: float
) -> list[Figure]:
    name = "lone" if size.lone and not size.nodes else "digest"
    over = sorted(verdicts.over_limit_ms)
    if not over:
        raise BenchError("Nothing was found, so there is no time to tell.")
    if len(_steady(offered, watched)) < 3:  # two ends and something between
        raise BenchError("The run was too short to tell what the watcher costs.")
    p99 = over[min(len(over) - 1, round(0.99 * len(over)))]
    reach_ms = OVER[2] if name == "lone" else OVER[1]
    figures = [
        make_figure(Target(f"{name}_over_limit_ms_p99", reach_ms), [p99]),
        make_figure(Target(f"{name}_missed_count", 0, ""), [len(verdicts.missed)]),
        make_figure(Target(f"{name}_invented_count", 0, ""), [len(verdicts.invented)]),
        make_figure(Target(f"{name}_watcher_core_percent", 5, "%"), _core_percent(offered, watched)),
        make_figure(
            Target(f"bytes_per_source_{name}", 50 if name == "digest" else 300, "B", digits=0),
            [bytes_per_source],
        ),
        make_figure(HELD, [look.held_ms for look in _steady(offered, watched)]),
    ]
    if name == "lone":
        held = 0 if verdicts.missed or verdicts.invented or p99 >= reach_ms else size.lone
        target = Target("lone_sources_held_count", 1_000_000, "", "higher")
        figures.append(make_figure(target, [held]))
    return figures


def _notes(size: Size, offered: Offered, watched: Watched, verdicts: Verdicts) -> list[str]:
    who = f"{size.nodes} nodes with {size.apps_per_node} apps each and {size.lone} lone sources"
    notes = [f"{who}, {_length_s(offered):.0f} s, {offered.records} records."]
    for what, names in (
        ("missed", verdicts.missed),
        ("invented", verdicts.invented),
        ("came back and nobody said so", verdicts.not_returned),
    ):
        if names:
            notes.append(f"{what}: {', '.join(names[:5])}")
    if watched.sessions < size.nodes + size.lone:
        notes.append(f"The watcher knew only {watched.sessions} reporters and lone sources.")
    return notes


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--nodes", type=click.IntRange(0, 500_000), default=10_000, show_default=True)
@click.option("--apps-per-node", type=click.IntRange(0, 1_000), default=100, show_default=True)
@click.option("--lone", type=click.IntRange(0, 2_000_000), default=0, show_default=True, help="Lone sources.")
@click.option("--minutes", type=click.FloatRange(0.4, 600), default=10.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Who falls silent, and when.")
def main(*, as_json: bool, nodes: int, apps_per_node: int, lone: int, minutes: float, seed: int) -> None:
    """Let simulated agents beat at their real rate, and measure the watcher.

    Nodes and lone sources fall silent for a while or for ever, single apps fall late; the loader knows the truth.
    """
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
        result = Result(bench="fleet", machine=machine, void=str(error))
    except (BenchError, CommandError, RuntimeError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
