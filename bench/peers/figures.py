"""Figures made of what the jobs of all rounds needed. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from bench.peers.runs import Span
from bench.results import Figure, Target, make_figure

_MIB: Final = 1 << 20

#: Few keys, many keys.
FEW: Final = 1_000
MANY: Final = 300_000


class Pair(NamedTuple):
    """A figure: a peer's job, ours that it is held against, and what to reach."""

    name: str
    peer: str
    ours: str
    reach: float


#: CPU time per record, the peer's over ours.
COSTS: Final = (
    Pair("vs_faust_ratio", "faust", "ours_300k", 80),
    Pair("vs_quix_ratio", "quix", "ours_300k", 20),
    Pair("vs_bytewax_ratio", "bytewax", "ours_1k", 6),
    Pair("vs_kafka_streams_ratio_1k", "kafka_streams_1k", "ours_1k", 1),
    Pair("vs_kafka_streams_ratio_300k", "kafka_streams_300k", "ours_300k", 3),
)
#: Rows per second, ours over the peer's.
RESTORES: Final = (
    Pair("restore_vs_faust_ratio", "restore_faust", "restore_ours", 50),
    Pair("restore_vs_quix_ratio", "restore_quix", "restore_ours", 5),
    Pair("restore_vs_kafka_streams_ratio", "restore_kafka_streams", "restore_ours", 1.5),
)
#: Nothing is asked of it.
ORIGINAL: Final = Target("original_bytes_per_source", 0, "B", "higher", digits=0)


class Sample(NamedTuple):
    """One job of one round."""

    records: int
    span: Span

    @property
    def us(self) -> float:
        """CPU time per record, us, its state committed where the job says so."""
        return 1e6 * self.span.kept_cpu_s / self.records

    @property
    def per_s(self) -> float:
        """Records, or rows, per second of wall time."""
        return self.records / self.span.wall_s


#: Each round's jobs by name; a job that could not be had is missing.
Rounds = list[dict[str, Sample]]


def make_figures(rounds: Rounds, *, original_services: int) -> list[Figure]:
    """All figures of which at least one round has both sides."""
    figures = []
    for pairs, ratio in ((COSTS, _cost_ratio), (RESTORES, _restore_ratio)):
        for pair in pairs:
            values = _values(rounds, pair, ratio)
            if values:
                figures.append(make_figure(Target(pair.name, pair.reach, "", "higher", 3), values))
    slopes = [it["original"].span.grown_mib * _MIB / original_services for it in rounds if "original" in it]
    if slopes:
        figures.append(make_figure(ORIGINAL, slopes))
    return figures


def make_detail(rounds: Rounds) -> dict[str, dict[str, float]]:
    """Medians of what each job needed."""
    detail: dict[str, dict[str, float]] = {}
    for name in sorted({name for it in rounds for name in it}):
        samples = [it[name] for it in rounds if name in it]
        if name == "original":
            continue
        parts = {
            "records": float(samples[0].records),
            "cpu_us_per_record": _median(samples, lambda it: it.us),
            "records_per_s": _median(samples, lambda it: it.per_s),
            "resident_mib": _median(samples, lambda it: it.span.resident_mib),
        }
        if name.startswith("kafka_streams"):
            parts["cpu_us_per_record_before_commit"] = _median(
                samples, lambda it: 1e6 * it.span.cpu_s / it.records
            )
        detail[name] = {key: round(value, 2) for key, value in parts.items()}
    ours = [
        (it["ours_300k"].span.grown_mib - it["ours_1k"].span.grown_mib) * _MIB / (MANY - FEW)
        for it in rounds
        if "ours_300k" in it and "ours_1k" in it
    ]
    if ours:
        detail["bytes_per_source"] = {"ours": round(statistics.median(ours), 1)}
    return detail


def _values(rounds: Rounds, pair: Pair, ratio: Callable[[Sample, Sample], float]) -> list[float]:
    return [ratio(it[pair.peer], it[pair.ours]) for it in rounds if pair.peer in it and pair.ours in it]


def _cost_ratio(peer: Sample, ours: Sample) -> float:
    return peer.us / ours.us


def _restore_ratio(peer: Sample, ours: Sample) -> float:
    return ours.per_s / peer.per_s


def _median(samples: list[Sample], of: Callable[[Sample], float]) -> float:
    return statistics.median(of(sample) for sample in samples)


def make_notes(versions: Mapping[str, str], counts: Mapping[str, int], lost: Mapping[str, str]) -> list[str]:
    """What a reader should know: which peers, how much each read, and what could not be had."""
    notes = ["Peers: " + ", ".join(f"{name} {number}" for name, number in versions.items()) + "."]
    read = ", ".join(f"{name} {number}" for name, number in counts.items())
    notes.append(f"Records that each job read: {read}.")
    notes.append("Bytewax has no RocksDB: its counts are in memory only.")
    notes.extend(f"{name} is left out: {why}" for name, why in lost.items())
    return notes
