"""Watchers and a loader as processes that a bench starts, waits for, and kills."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from agents.state import REPORT_EVERY_MS
from bench.fleets import loader, watching
from bench.fleets.crowd import Size
from bench.fleets.loader import LONE_EVERY_MS, Offered
from bench.fleets.script import Outage
from bench.fleets.watching import Fresh, Watched
from bench.results import BenchError, VoidError
from streams.local.broker import LocalBroker
from streams.local.ports import find_free_ports

#: A log of a million sources is made within this time, s: 20 s were seen on a machine that did other things.
MADE_WITHIN_S: Final = 240.0
#: A watcher has said what it found this long after its end was asked for, s.
_ENDS_WITHIN_S: Final = 60.0
#: Share of the records of such a fleet, less what the script silences, that must have been written.
OFFERED_MIN: Final = 0.95
#: With a beat every 5 s, at 10 % jitter, a record later than this makes a source silent that lives: 10 - 5.5 s.
LATE_MS_MAX: Final = 4_500
#: The broker of a bench that holds records for as long as it runs, but no more than this of each partition.
BROKER: Final = {
    "log.segment.bytes": str(64 << 20),
    "log.retention.bytes": str(1 << 30),
    "log.retention.check.interval.ms": "5000",
    "log.segment.delete.delay.ms": "1000",
    "num.network.threads": "2",
}


@contextlib.contextmanager
def run_broker(folder: Path) -> Iterator[str]:
    """A Kafka of one's own; its bootstrap address."""
    port, controller_port = find_free_ports(2)
    broker = LocalBroker(
        folder / "kafka", port=port, controller_port=controller_port, heap_mib=512, extra=BROKER
    )
    broker.start()
    try:
        yield broker.bootstrap
    finally:
        broker.kill()


class WatcherProcess:
    """One `bench.fleets.watching`, which begins when it is told to."""

    def __init__(self, order: watching.Order) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.fleets.watching"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._last = "nothing"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._tell(msgspec.json.encode(msgspec.structs.replace(order, waits=True)))

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.put(line.decode().strip())

    def _tell(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def _wait_line(self, begins: str, within_s: float, what: str) -> str:
        until_s = time.monotonic() + within_s
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=min(left_s, 1.0))
            except queue.Empty:
                if self._process.poll() is not None:
                    raise BenchError(f"The watcher ended and said: {self._last}") from None
                continue
            self._last = line or self._last
            if line.startswith(begins):
                return line
        raise BenchError(f"The watcher {what} within {within_s:.0f} s; it said last: {self._last}")

    def wait_made(self) -> None:
        """Wait until its log is in memory."""
        self._wait_line("ready", MADE_WITHIN_S, "was not ready")

    def begin(self) -> None:
        """Let it watch."""
        self._tell(b"go")

    def wait_fresh(self, within_s: float) -> Fresh:
        """Wait until a first correct fact is possible in every partition it watches.

        Raises:
            BenchError: It ended, or took longer.
        """
        line = self._wait_line("{", within_s, "had not read all partitions to their end")
        return msgspec.json.decode(line, type=Fresh)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._process.kill()
        self._process.wait()

    def end(self) -> Watched:
        """End it and take what it found and cost."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        killer = threading.Timer(_ENDS_WITHIN_S, self._process.kill)
        killer.start()
        try:
            out = self._process.stdout.read()
            code = self._process.wait()
        finally:
            killer.cancel()
        if code:
            self._reader.join(1.0)
            while not self._lines.empty():
                self._last = self._lines.get() or self._last
            raise BenchError(f"The watcher ended with code {code} and said: {self._last}")
        return msgspec.json.decode(out, type=Watched)


class LoaderProcess:
    """One `bench.fleets.loader` at work."""

    def __init__(self, order: loader.Order) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.fleets.loader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(msgspec.structs.replace(order, is_told=True)))
        self._process.stdin.close()

    def wait_begun(self) -> float:
        """Wait until it beats; since when, monotonic s."""
        assert self._process.stderr is not None
        last = ""
        for line in self._process.stderr:
            if line == b"beats\n":
                return time.monotonic()
            last = line.decode().strip() or last
        raise BenchError(f"The loader ended and said: {last}")

    def end(self) -> Offered:
        """Let it end before its time."""
        self._process.terminate()
        return self.wait()

    def kill(self) -> None:
        """End it; what it knew is lost."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> Offered:
        """Wait until it has beaten for its time."""
        assert self._process.stdout is not None
        out = self._process.stdout.read()
        if code := self._process.wait():
            raise BenchError(f"The loader ended with code {code}.")
        return msgspec.json.decode(out, type=Offered)


def check_offered(size: Size, offered: Offered, outages: Sequence[Outage] = ()) -> None:
    """Whether the fleet beat as such a fleet does.

    Raises:
        VoidError: It wrote less than that, or so late that what lives was silent.
    """
    length_ms = offered.end_ms - offered.began_ms
    asked = size.nodes * length_ms / REPORT_EVERY_MS + size.lone * length_ms / LONE_EVERY_MS
    for outage in outages:
        if outage.kind != "app":
            every_ms = REPORT_EVERY_MS if outage.kind == "node" else LONE_EVERY_MS
            asked -= max(0, (outage.until_ms or length_ms) - outage.from_ms) / every_ms
    if offered.records < OFFERED_MIN * asked:
        raise VoidError(
            f"The loader wrote only {offered.records / asked:.1%} of the records of such a fleet."
        )
    if offered.late_ms_max > LATE_MS_MAX:
        raise VoidError(f"A record was acknowledged {offered.late_ms_max} ms after its time.")


@contextlib.contextmanager
def running(*processes: WatcherProcess | LoaderProcess) -> Iterator[None]:
    """Leave none of them behind."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
