"""Does to the platform what the plan says, and writes down what it did. Shell.

1. A fault that finds nobody to hit has not happened; the driver tries it again for a while.
2. What is paused or cut is on nobody else's list until it is over.
3. Pauses and cuts are of processes: whoever takes the place of one that died meanwhile is free of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from bench.auditing.cuts import Cuts, Way
from bench.auditing.journal import BROKER, PROVISIONER, Journal, Trouble
from bench.auditing.plan import Step
from bench.auditing.victims import pick_app, pick_nodes, pick_worker
from sdk.contract.codec import Recorded
from sdk.contract.topics import WIDE_PARTITIONS
from streams.local.processes import ProcessId, identify, is_alive
from streams.local.rig import Rig

#: A fault at an append waits for one this long.
APPEND_WITHIN_S: Final = 3.0
#: Records of the log that may come a second time: of the last few, or any.
_AGAIN_AMONG: Final = (3, 30, 3_000)


class Strikes:
    """All faults of one run."""

    def __init__(self, rig: Rig, cuts: Cuts, journal: Journal) -> None:
        self._rig = rig
        self._cuts = cuts
        self._journal = journal
        self._busy: set[str] = set()
        self._timers: list[threading.Timer] = []
        self._undo: dict[int, Callable[[], None]] = {}
        self._lock = threading.Lock()
        #: What went wrong in a thread of ours.
        self.faults: list[str] = []
        #: Records of garbage written, by topic.
        self.garbage = 0

    def strike(self, step: Step) -> str:
        """Do it; whom it hit, in a few words, empty if there was nobody."""
        chance = Random(step.chance)
        verb, _, rest = step.what.partition(" ")
        match step.what:
            case "garbage":
                return self._garbage(chance)
            case "say again":
                return self._say_again(chance)
            case "kill broker" | "pause broker":
                return self._broker(step)
        way: Way = "both"
        for word in ("up", "down"):
            if rest.endswith(f" {word}"):
                rest, way = rest.removesuffix(f" {word}"), word
        victims = self._pick(rest, chance, kill=verb == "kill")
        if not victims:
            return ""
        for name, process, touched in victims:
            if verb == "kill":
                self._journal.strike(step.what, touched, note=f"pid {process.pid}")
                self._signal([process], signal.SIGKILL)
            elif verb == "pause":
                self._pause(step, name, process, touched, group=rest in {"node", "most nodes"})
            else:
                self._cut(step, name, process, touched, way)
        return ", ".join(name for name, _, _ in victims)

    def close(self) -> None:
        """Undo at once whatever still lasts."""
        for timer in self._timers:
            timer.cancel()
        for undo in list(self._undo.values()):
            undo()

    # --- whom ---------------------------------------------------------------------------------------

    def _pick(self, what: str, chance: Random, *, kill: bool) -> list[tuple[str, ProcessId, list[str]]]:
        """Name, process and touched names of each victim, none of which is paused or cut already."""
        rig = self._rig
        state = rig.state()
        found: list[tuple[str, int, list[str]]] = []
        match what:
            case "agent" | "node" | "most nodes":
                for node in pick_nodes(rig, state, chance, self._busy, most=what == "most nodes"):
                    # A killed agent takes its apps with it, a paused one alone does not.
                    with_apps = kill or what != "agent"
                    found.append((node.node, node.pid, [node.node, *(node.apps if with_apps else [])]))
            case "app":
                app = pick_app(rig, state, chance, self._busy)
                found += [(app.app, app.pid, [app.app])] if app else []
            case "worker" | "leader" | "leader at append":
                if what.endswith("append"):
                    self._wait_append()
                name = pick_worker(rig, state, chance, self._busy, leader=what != "worker")
                found += [(name, rig.worker_pid(name), [name])] if name else []
            case _:
                pid = rig.provisioner.pid if rig.provisioner else 0
                found += [(PROVISIONER, pid, [PROVISIONER])]
        victims = []
        for name, pid, touched in found:
            process = identify(pid)
            if process is None or name in self._busy:
                return []
            victims.append((name, process, touched))
        return victims

    def _wait_append(self) -> None:
        """Wait for the next record of the log, so that its writer is hit while it still acts on it; not for long."""
        begin = self._rig.log.offset
        with contextlib.suppress(TimeoutError):
            self._rig.wait(lambda _: self._rig.log.offset > begin, within_s=APPEND_WITHIN_S, what="a record")

    # --- processes ----------------------------------------------------------------------------------

    def _signal(self, processes: Iterable[ProcessId], number: signal.Signals, *, group: bool = False) -> None:
        for process in processes:
            if is_alive(process):
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if group else os.kill)(process.pid, number)

    def _pause(self, step: Step, name: str, process: ProcessId, touched: list[str], *, group: bool) -> None:
        trouble = self._journal.begin(step.what, touched, mute=True, note=f"pid {process.pid}")
        self._signal([process], signal.SIGSTOP, group=group)
        self._later(step, name, trouble, lambda: self._signal([process], signal.SIGCONT, group=group))

    def _cut(self, step: Step, name: str, process: ProcessId, touched: list[str], way: Way) -> None:
        trouble = self._journal.begin(step.what, touched, mute=way != "down", note=f"pid {process.pid}")
        self._cuts.cut(process.pid, way)
        self._later(step, name, trouble, lambda: self._cuts.heal(process.pid))

    def _later(self, step: Step, name: str, trouble: Trouble, work: Callable[[], None]) -> None:
        """End a trouble when its time has come, or when everything ends."""
        self._busy.add(name)
        key = id(trouble)

        def undo() -> None:
            with self._lock:
                if self._undo.pop(key, None) is None:
                    return
            try:
                work()
            except Exception as error:  # noqa: BLE001  # told by whoever waits for the run
                self.faults.append(f"{step.what}: {error!r}")
            self._journal.end(trouble)
            self._busy.discard(name)

        self._undo[key] = undo
        timer = threading.Timer(step.for_s, undo)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    # --- the broker ---------------------------------------------------------------------------------

    def _broker(self, step: Step) -> str:
        broker = self._rig.broker
        assert broker is not None
        if BROKER in self._busy:
            return ""
        trouble = self._journal.begin(step.what, [BROKER], mute=True)
        if step.what == "pause broker":
            broker.pause()
            self._later(step, BROKER, trouble, broker.resume)
        else:
            broker.kill()
            self._later(step, BROKER, trouble, broker.start)
        return BROKER

    # --- records ------------------------------------------------------------------------------------

    def _garbage(self, chance: Random) -> str:
        """A record that is nobody's on one of the topics that everybody reads."""
        rig = self._rig
        topics = rig.topics
        topic = chance.choice([topics.events, topics.heartbeats, topics.commands, topics.requests])
        wide = topic in {topics.heartbeats, topics.commands}
        partition = chance.randrange(WIDE_PARTITIONS) if wide else 0
        value = chance.choice([chance.randbytes(200), b"{}", b"[1]", b"[" * 5_000, b'["r","node-x"]'])
        key = chance.randbytes(8) if topic == topics.commands else None
        self._in_thread(lambda: rig.log.put(topic, value, key=key, partition=partition))
        self._journal.strike("garbage", [], note=f"{topic} {partition}")
        self.garbage += 1
        return f"{topic} {partition}"

    def _say_again(self, chance: Random) -> str:
        """A record of the log comes a second time, however late."""
        entries = [seen for seen in self._rig.events() if isinstance(seen.said, Recorded)]
        seen = chance.choice(entries[-chance.choice(_AGAIN_AMONG) :])
        self._in_thread(lambda: self._rig.log.put(self._rig.topics.events, seen.raw))
        self._journal.strike("say again", [], note=f"offset {seen.offset}")
        return f"offset {seen.offset}"

    def _in_thread(self, work: Callable[[], object]) -> None:
        """Do what may have to wait for the broker beside everything else."""
        threading.Thread(target=work, name="record", daemon=True).start()
