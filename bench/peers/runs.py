"""One run of one job: a process that says how far it is, and what it had cost at each such moment. Shell.

A mark is a line on the job's standard output, `first` or `last 200000`. CPU time is that of the process and of its
children, as the kernel counts it; time is the wall's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Final, NamedTuple

import psutil

from bench.results import BenchError

#: A job that takes longer is taken for stuck, s: the slowest needs 30 s on a machine that does nothing else.
RUN_WITHIN_S: Final = 300.0


class Mark(NamedTuple):
    """What a job said, and what had passed by then."""

    words: list[str]
    at_s: float
    cpu_s: float
    resident_mib: float


class Span(NamedTuple):
    """What a job needed from its first record to its last."""

    wall_s: float
    cpu_s: float
    #: From the first record to its state being committed; as `cpu_s` of a job that does not say.
    kept_cpu_s: float
    resident_mib: float
    #: What of that came after the first record.
    grown_mib: float
    #: What the job counted itself.
    rows: int


class Job(NamedTuple):
    """What to start."""

    name: str
    argv: list[str]
    #: What it gets on standard input, which stays open.
    order: bytes = b""
    env: Mapping[str, str] = {}


def run(job: Job, *, until: str = "last", within_s: float = RUN_WITHIN_S) -> Span:
    """Start a job, wait for its mark `until` and end it.

    Raises:
        BenchError: it ended before, or took too long.
    """
    with started(job) as marks:
        return span(list(marks_until(job, marks, until=until, within_s=within_s)))


def span(marks: Sequence[Mark]) -> Span:
    """What passed between the last `first` before `last`, and `last`.

    A job may begin again: of what it threw away nothing is counted.

    Raises:
        BenchError: one of them is missing.
    """
    by_name: dict[str, Mark] = {}
    for mark in marks:
        if mark.words[0] == "first" and "last" in by_name:
            continue
        by_name.setdefault(mark.words[0], mark)
        if mark.words[0] == "first":
            by_name["first"] = mark
    if "first" not in by_name or "last" not in by_name:
        raise BenchError(f"A job said {sorted(by_name)}, neither its first record nor its last is known.")
    first, last = by_name["first"], by_name["last"]
    kept = by_name.get("kept", last)
    rows = int(last.words[1]) if len(last.words) > 1 else 0
    return Span(
        wall_s=last.at_s - first.at_s,
        cpu_s=last.cpu_s - first.cpu_s,
        kept_cpu_s=kept.cpu_s - first.cpu_s,
        resident_mib=last.resident_mib,
        grown_mib=last.resident_mib - first.resident_mib,
        rows=rows,
    )


@contextlib.contextmanager
def started(job: Job) -> Iterator[Queue[Mark | None]]:
    """A running job; what it says comes out of the queue, None at its end. It is ended with the block."""
    with _log_of(job) as log:
        process = subprocess.Popen(
            job.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **job.env},
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        marks: Queue[Mark | None] = Queue()
        reading = threading.Thread(target=_read, args=(process.pid, process.stdout, marks), daemon=True)
        reading.start()
        try:
            if job.order:
                process.stdin.write(job.order + b"\n")
                process.stdin.flush()
            yield marks
        finally:
            with contextlib.suppress(ProcessLookupError):
                # Its own session, so its children too.
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            # Its standard output ended with it.
            reading.join()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def marks_until(job: Job, marks: Queue[Mark | None], *, until: str, within_s: float) -> Iterator[Mark]:
    """What the job says up to the mark `until`."""
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            mark = marks.get(timeout=max(0.01, deadline_s - time.monotonic()))
        except Empty:
            raise BenchError(f"{job.name} did not say '{until}' within {within_s:.0f} s.") from None
        if mark is None:
            raise BenchError(f"{job.name} ended before it said '{until}'; its last words: {_last_words(job)}")
        yield mark
        if mark.words[0] == until:
            return


def cost(pid: int) -> tuple[float, float]:
    """CPU seconds and resident MiB of a process and its children; zeros once it is gone."""
    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
        times = [it.cpu_times() for it in tree]
        resident = sum(it.memory_info().rss for it in tree)
    except psutil.Error:
        return 0.0, 0.0
    return sum(it.user + it.system for it in times), resident / (1 << 20)


def _read(pid: int, out: IO[bytes], marks: Queue[Mark | None]) -> None:
    for line in out:
        words = line.decode(errors="replace").split()
        if words:
            cpu_s, resident_mib = cost(pid)
            marks.put(Mark(words, time.monotonic(), cpu_s, resident_mib))
    marks.put(None)


def _log_path(job: Job) -> Path:
    return Path(tempfile.gettempdir()) / f"watchkeep-peers-{os.getpid()}-{job.name}.log"


@contextlib.contextmanager
def _log_of(job: Job) -> Iterator[IO[bytes]]:
    path = _log_path(job)
    try:
        with path.open("wb") as log:
            yield log
    finally:
        path.unlink(missing_ok=True)


def _last_words(job: Job) -> str:
    lines = _log_path(job).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "none"
