"""Keeps a list of processes running: starts them in order, again when they end, stops them in reverse.

Part of the shell. It stays small (budget 40 MiB): stdlib only, whatever is heavy is a child's business.

1. Children of one stage start together, the next stage once all of them are ready.
2. After the first start nothing is given up: whatever ends is started again with a growing pause.
3. SIGINT, SIGTERM and SIGHUP stop everything in reverse order within bounded time; a second one at once.
4. Nothing is left behind: at the end whatever carries the mark of this run is ended too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from streams.local.child import Child, ChildSpec, StartError
from streams.local.probe import probe_any
from streams.local.processes import MARK_ENV, ProcessId, end_all, find_marked, identify, is_alive, run_mark
from streams.local.rundir import write_run

#: Seconds that processes get which nobody stopped although they belong to this run.
_SWEEP_GRACE_S: Final = 5.0


class Supervisor:
    """The processes of one data directory, from the first start to the last stop."""

    def __init__(self, specs: Sequence[ChildSpec], data_dir: Path, *, say: Callable[[str], None]) -> None:
        """Make a supervisor; `say` gets one line for each thing that a person may want to see."""
        self._data_dir = data_dir
        self._say = say
        self._mark = run_mark(data_dir)
        self._phase = "starting"
        self._failure = ""
        self._began = time.time()
        self._stop_asked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        log_dir = data_dir / "logs"
        log_dir.mkdir(parents=True, exist_ok=True)
        self.children = [
            Child(
                spec._replace(env={**spec.env, MARK_ENV: self._mark}),
                log_dir=log_dir,
                is_ready=_create_check(spec.ready_kafka),
                changed=self._record,
            )
            for spec in specs
        ]

    async def run(self) -> int:
        """Start everything, supervise until asked to stop, stop everything; return the exit code."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, self.ask_stop)
        try:
            await self._start_all()
            await self._stop_asked.wait()
        finally:
            await self._stop_all()
            for number in signals:
                loop.remove_signal_handler(number)
        return 1 if self._failure else 0

    def ask_stop(self) -> None:
        """Begin to stop; asked again, whatever still runs is killed."""
        if self._stop_asked.is_set():
            self._say("stopping at once")
            for child in self.children:
                child.kill()
        self._stop_asked.set()

    async def _start_all(self) -> None:
        """Start stage by stage; a failure or a wish to stop ends it, told by `_stop_asked`."""
        for stage in sorted({child.spec.stage for child in self.children}):
            children = self._of_stage(stage)
            starts = asyncio.create_task(self._start_stage(children))
            stop = asyncio.create_task(self._stop_asked.wait())
            await asyncio.wait({starts, stop}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if self._stop_asked.is_set():
                starts.cancel()
            await asyncio.gather(stop, return_exceptions=True)
            with contextlib.suppress(asyncio.CancelledError):
                await starts
            if self._stop_asked.is_set():
                return
            self._tasks += [asyncio.create_task(child.supervise()) for child in children]
        self._set_phase("running")

    async def _start_stage(self, children: list[Child]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for child in children:
                    group.create_task(child.start())
        except* StartError as errors:
            # One reason is enough for a person; the logs hold the others.
            self._failure = str(errors.exceptions[0])
            self._say(self._failure)
            self._stop_asked.set()

    async def _stop_all(self) -> None:
        self._set_phase("stopping")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for stage in sorted({child.spec.stage for child in self.children}, reverse=True):
            children = self._of_stage(stage)
            names = [
                child.spec.name for child in children if child.state not in {"done", "waiting", "stopped"}
            ]
            if names:
                self._say(f"stopping {', '.join(names)}")
            await asyncio.gather(*(child.stop() for child in children))
            # What the stopped ones left, while what it may need (Kafka) still runs. A stage of mere steps has left
            # nothing, and the nodes still belong to the provisioner, which parks them for the next start.
            if not all(child.spec.once for child in children):
                await asyncio.to_thread(self._sweep)
        self._set_phase("failed" if self._failure else "stopped")

    def _sweep(self) -> None:
        """End marked processes that belong to no child which is still to be stopped."""
        alive = [child.process for child in self.children if child.process and is_alive(child.process)]
        groups = {process.pid for process in alive}
        strays = [process for process in find_marked(self._mark) if _group_of(process) not in groups]
        end_all(strays, grace_s=_SWEEP_GRACE_S)

    def _of_stage(self, stage: int) -> list[Child]:
        return [child for child in self.children if child.spec.stage == stage]

    def _set_phase(self, phase: str) -> None:
        self._phase = phase
        self._record()

    def _record(self) -> None:
        """Write the run file: what runs, for `down`, `doctor`, the screen and the next `up`."""
        own = identify(os.getpid())
        children: list[dict[str, Any]] = [
            {
                "name": child.spec.name,
                "pid": child.process.pid if child.process else None,
                "start": child.process.start if child.process else None,
                "state": child.state,
                "restarts": child.restarts,
                "since": child.since,
                "note": child.spec.note,
                "stage": child.spec.stage,
                "once": child.spec.once,
            }
            for child in self.children
        ]
        write_run(
            self._data_dir,
            {
                "supervisor": {"pid": os.getpid(), "start": own.start if own else None},
                "began": self._began,
                "phase": self._phase,
                "failure": self._failure,
                "children": children,
            },
        )


def _create_check(address: str | None) -> Callable[[], Any] | None:
    if address is None:
        return None

    async def answers() -> bool:
        return await asyncio.to_thread(probe_any, address) is not None

    return answers


def _group_of(process: ProcessId) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return 0
