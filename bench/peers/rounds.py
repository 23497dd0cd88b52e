"""The rounds of the comparison: every job once, on the same new topics, in turn from the front and the back. Shell."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bench.fleets import watching
from bench.fleets.crowd import Size
from bench.peers import beats, ours, places
from bench.peers.figures import FEW, MANY, Rounds, Sample
from bench.peers.places import JAVA_PEER, NAMES
from bench.peers.runs import Job, run
from bench.results import BenchError
from sdk.contract.topics import Topics
from streams.local.broker import LocalBroker
from streams.local.ports import find_free_ports

#: Rows that are lost and brought back.
RESTORED: Final = 200_000
#: Services of the original monitor: its memory is the slope between the two.
ORIGINAL_FEW, ORIGINAL_MANY = 10, 50
#: Heartbeats of earlier rounds are thrown away, or many rounds fill the disk.
_BROKER: Final = {
    "log.retention.bytes": str(512 << 20),
    "log.retention.check.interval.ms": "30000",
    "num.network.threads": "2",
}

Say = Callable[[str], None]


class Counts(NamedTuple):
    """How many records a job reads: some 15 to 25 s of the slow ones, every key several times of the fast ones."""

    faust: int = 40_000
    quix: int = 200_000
    bytewax: int = 400_000
    few: int = 600_000
    many: int = 900_000
    restored: int = RESTORED
    #: Faust alone would need minutes for as many, in every round; it goes by the row.
    restored_faust: int = 50_000

    def rows(self, peer: str) -> int:
        """How many rows a peer brings back."""
        return self.restored_faust if peer == "faust" else self.restored


#: For a machine that others use at the same time.
SHORT: Final = Counts(
    faust=20_000, quix=100_000, bytewax=200_000, few=400_000, many=600_000, restored_faust=30_000
)


class Comparison:
    """One run of the bench, on a broker that is there."""

    def __init__(self, bootstrap: str, folder: Path, counts: Counts, peers: list[str], say: Say) -> None:
        self._bootstrap = bootstrap
        self._folder = folder
        self._counts = counts
        self._peers = peers
        self._say = say
        self._numbers = itertools.count()
        #: The topics that each peer has counted and brings back.
        self._kept: dict[str, str] = {}
        #: Why a peer, or what it restores, is left out, by its name for people.
        self.lost: dict[str, str] = {}

    def run(self, rounds: int) -> Rounds:
        """All rounds.

        Raises:
            BenchError: our own job could not be measured.
        """
        self._keep()
        return [self._round(number, rounds) for number in range(rounds)]

    # --- what it costs to count ---------------------------------------------------------------------

    def _round(self, number: int, rounds: int) -> dict[str, Sample]:
        self._say(f"round {number + 1} of {rounds}: beats are written")
        few = beats.fill(self._bootstrap, sources=FEW, beats=self._counts.few)
        many = beats.fill(self._bootstrap, sources=MANY, beats=self._counts.many)
        again = beats.fill(self._bootstrap, sources=self._counts.restored, beats=self._counts.restored)
        counts = self._counts
        jobs: list[tuple[str, Callable[[], Sample | None]]] = [
            ("ours_1k", lambda: self._ours(few, FEW, counts.few)),
            ("kafka_streams_1k", lambda: self._count(JAVA_PEER, few, counts.few)),
            ("bytewax", lambda: self._count("bytewax", few, counts.bytewax)),
            ("quix", lambda: self._count("quix", many, counts.quix)),
            ("ours_300k", lambda: self._ours(many, MANY, counts.many)),
            ("kafka_streams_300k", lambda: self._count(JAVA_PEER, many, counts.many)),
            ("faust", lambda: self._count("faust", many, counts.faust)),
            ("restore_quix", lambda: self._restore("quix")),
            ("restore_ours", lambda: self._ours(again, counts.restored, counts.restored, is_restore=True)),
            ("restore_kafka_streams", lambda: self._restore(JAVA_PEER)),
            ("restore_faust", lambda: self._restore("faust")),
            ("original", self._original),
        ]
        samples = {}
        for name, measure in reversed(jobs) if number % 2 else jobs:
            self._say(f"round {number + 1} of {rounds}: {name}")
            sample = measure()
            if sample is not None:
                samples[name] = sample
        return samples

    def _ours(self, prefix: str, sources: int, records: int, *, is_restore: bool = False) -> Sample:
        fleet = watching.Order(self._bootstrap, prefix, Size(0, 0, sources))
        folder = self._folder / f"state-{next(self._numbers)}"
        order = ours.Order(fleet, records, str(folder), is_restore=is_restore)
        job = Job("ours", [sys.executable, "-m", "bench.peers.ours"], msgspec.json.encode(order))
        done = run(job)
        if done.rows != sources:
            raise BenchError(f"Our watcher held {done.rows} sources of {sources}.")
        return Sample(records, done)

    def _count(self, peer: str, prefix: str, records: int) -> Sample | None:
        job = self._job(peer, "count", prefix, f"count-{peer}-{next(self._numbers)}", records)
        return self._peer(peer, job, records, until="kept" if peer == JAVA_PEER else "last")

    # --- state that is lost -------------------------------------------------------------------------

    def _keep(self) -> None:
        """Let each peer count what it shall bring back, and write its changelog."""
        for peer in ("quix", JAVA_PEER, "faust"):
            records = self._counts.rows(peer)
            self._say(f"{NAMES[peer]} writes the changelog that it will restore")
            self._kept[peer] = prefix = beats.fill(self._bootstrap, sources=records, beats=records)
            job = self._job(peer, "keep", prefix, f"keep-{peer}", records)
            self._peer(peer, job, records, until="kept", restores=True)

    def _restore(self, peer: str) -> Sample | None:
        """Its state in a new folder, from its changelog."""
        records = self._counts.rows(peer)
        job = self._job(peer, "restore", self._kept[peer], f"keep-{peer}", records)
        sample = self._peer(peer, job, records, restores=True)
        if sample is not None and sample.span.rows < records:
            self._lose(_restore_of(peer), f"it brought back {sample.span.rows} rows of {records}.")
            return None
        return sample

    # --- the original -------------------------------------------------------------------------------

    def _original(self) -> Sample | None:
        prefix = f"original-{next(self._numbers)}"
        argv = [sys.executable, "-m", "bench.peers.original", self._bootstrap, prefix]
        job = Job("original", [*argv, str(ORIGINAL_FEW), str(ORIGINAL_MANY)])
        return Sample(ORIGINAL_MANY - ORIGINAL_FEW, run(job))

    # --- peers --------------------------------------------------------------------------------------

    def _job(self, peer: str, mode: str, prefix: str, name: str, records: int) -> Job:
        return places.job(
            peer,
            mode=mode,
            bootstrap=self._bootstrap,
            topic=Topics(prefix).heartbeats,
            name=name,
            folder=self._folder / f"state-{next(self._numbers)}",
            records=records,
        )

    def _peer(
        self, peer: str, job: Job, records: int, *, until: str = "last", restores: bool = False
    ) -> Sample | None:
        what = _restore_of(peer) if restores else NAMES[peer]
        if peer not in self._peers or what in self.lost:
            return None
        try:
            return Sample(records, run(job, until=until))
        except BenchError as error:
            self._lose(what, str(error))
            return None

    def _lose(self, what: str, why: str) -> None:
        self.lost[what] = why
        self._say(f"{what} is left out: {why}")


def _restore_of(peer: str) -> str:
    return f"The restore of {NAMES[peer]}"


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    """A Kafka of the bench's own; where clients connect."""
    port, controller_port = find_free_ports(2)
    kafka = LocalBroker(
        folder / "kafka", port=port, controller_port=controller_port, heap_mib=512, extra=_BROKER
    )
    kafka.start()
    try:
        yield kafka.bootstrap
    finally:
        kafka.kill()
