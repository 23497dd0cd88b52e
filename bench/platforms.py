"""The platform that a bench torments: one of its own, or the one that runs here already.

Both are seen through a `Rig`: it folds the log as it grows and hears every report.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.results import BenchError
from sdk.contract.ids import pool_id
from sdk.contract.topics import Topics
from streams.local.rig import Rig, active_nodes
from streams.local.rig_log import RigLog
from streams.local.rundir import find_holder, read_run
from streams.settings import Settings

WORKERS: Final = 2
NODES: Final = 3
SLOTS: Final = 4
POOL: Final = "local"
_ATTACH_WITHIN_S: Final = 60.0


class Platform:
    """A rig, and what differs between one's own platform and one that runs already."""

    def __init__(self, rig: Rig, running: Settings | None = None) -> None:
        self.rig = rig
        self._running = running
        #: Workers that the bench killed, each as often as it did.
        self.killed: list[str] = []
        self._deaths_before = self._count_deaths()
        #: The log from here on is the bench's.
        self.since = rig.log.offset + 1 if running else 0

    def worker_pid(self, name: str) -> int:
        """The process of a worker, 0 while it is dead."""
        if self._running is None:
            return self.rig.worker_pid(name)
        return next((child["pid"] or 0 for child in self._children() if child["name"] == name), 0)

    def count_strange_deaths(self) -> int:
        """How many of the kept processes ended without the bench having killed them."""
        return max(0, self._count_deaths() - self._deaths_before - len(self.killed))

    def _count_deaths(self) -> int:
        if self._running is None:
            return sum(len(minded.exit_codes) for minded in self.rig.minded)
        return sum(child["restarts"] for child in self._children())

    def _children(self) -> list[dict[str, Any]]:
        assert self._running is not None
        children: list[dict[str, Any]] = read_run(self._running.data_path).get("children", [])
        return children


@contextlib.contextmanager
def own_platform() -> Iterator[Platform]:
    """A platform with a broker of its own on free ports, gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder,
        Rig(Path(folder), log_level="warning") as rig,
    ):
        rig.start(workers=WORKERS, nodes=NODES, slots=SLOTS)
        yield Platform(rig)


@contextlib.contextmanager
def running_platform(settings: Settings) -> Iterator[Platform]:
    """The platform that `up` runs on this machine with the settings in force.

    Raises:
        BenchError: there is none, or it is not one whose processes can be killed from here.
    """
    if not settings.bootstrap.startswith(("127.0.0.1:", "localhost:")):
        raise BenchError("Times can be compared with kills only if the Kafka runs on this machine.")
    if settings.pool != POOL or find_holder(settings.data_path) is None:
        raise BenchError(f"No `up` with the pool {POOL} runs here with these settings.")
    with tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder:
        rig = Rig(Path(folder), bootstrap=settings.bootstrap)
        rig.prefix, rig.topics = settings.prefix, Topics(settings.prefix)
        rig.log = RigLog(settings.bootstrap, settings.prefix)
        with rig:
            rig.log.start()
            # Heartbeats of the last second have come, so what came before them has too.
            rig.wait(
                lambda _: rig.log.tick_ms > time.time() * 1000 - 1000,
                within_s=_ATTACH_WITHIN_S,
                what="the present of the running platform",
            )
            nodes = rig.wait(
                lambda state: len(active_nodes(state)) if state.pools.get(pool_id(POOL)) else 0,
                within_s=_ATTACH_WITHIN_S,
                what="active nodes",
            )
            rig.wait_active(nodes, within_s=_ATTACH_WITHIN_S)
            yield Platform(rig, settings)
