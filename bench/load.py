"""Load on all cores for a while, and whether it really was one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.results import VoidError

#: Cores must have been this busy, or the load was none.
BUSY_SHARE_MIN: Final = 0.95


class Load:
    """Processes that keep cores busy."""

    def __init__(self, cores: int) -> None:
        program = shutil.which("stress-ng")
        #: What makes the load, for the record.
        self.name = f"stress-ng --cpu {cores}" if program else f"{cores} busy loops in Python"
        self._argvs = (
            [[program, "--cpu", str(cores), "--quiet"]]
            if program
            else [[sys.executable, "-c", "while True: pass"]] * cores
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Load while the context lasts.

        Raises:
            VoidError: the cores were not busy.
        """
        before = _cpu_times()
        started = [
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            for argv in self._argvs
        ]
        try:
            yield
            busy, died = busy_share(before, _cpu_times()), [p.poll() for p in started]
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait()
        if any(code is not None for code in died) or busy < BUSY_SHARE_MIN:
            raise VoidError(f"{self.name}: the cores were busy only {busy:.0%} of the time.")


def hold(duration_s: float) -> None:
    """Let the load last."""
    time.sleep(duration_s)


def _cpu_times() -> tuple[float, float]:
    """Idle time of the cores this process may use, and all of their time, clock ticks."""
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    idle = total = 0.0
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *fields = line.split()
        if name in ours:
            # Guest time, fields 9 and 10, is part of user time already.
            times = [int(field) for field in fields[:8]]
            idle += times[3] + times[4]
            total += sum(times)
    return idle, total


def busy_share(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Share of the time between two readings (idle, total) that was not idle."""
    total = after[1] - before[1]
    return 1 - (after[0] - before[0]) / total if total > 0 else 0.0
