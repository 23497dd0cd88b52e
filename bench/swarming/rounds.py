"""What happens to a swarm, and how long it takes until the manager says so and all tasks beat again. Shell."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Self

from docker.types import RestartPolicy, ServiceMode

from bench.results import BenchError
from bench.returning.spaces import HUB_IP
from bench.swarming.machines import IMAGE, Machine, Swarm

#: Tasks of the service, as many as a node of ours carries apps.
REPLICAS: Final = 4
#: A task beats this often, s: what is measured is Swarm, not the beat.
_BEAT_EVERY_S: Final = 0.1
#: A task whose last beat is older than this, s, does not beat.
_BEATS_WITHIN_S: Final = 1.0
_HEALED_WITHIN_S: Final = 180.0
_LOOK_EVERY_S: Final = 0.05
_SERVICE: Final = "beats"
_PROGRAM: Final = """
import os, socket, sys, time
said = f"{os.environ['TASK']} {os.environ['NODE']}".encode()
to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try:
        to.sendto(said, (sys.argv[1], int(sys.argv[2])))
    except OSError:
        pass
    time.sleep(float(sys.argv[3]))
"""
SCENARIOS: Final = ("node_killed", "node_silence", "monitor_and_node")


class Beats:
    """Hears the tasks."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HUB_IP, 0))
        self._socket.settimeout(0.5)
        self.port: int = self._socket.getsockname()[1]
        self._lock = threading.Lock()
        #: Task -> machine, first and last beat, s of the monotonic clock.
        self._heard: dict[str, tuple[str, float, float]] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._hear, daemon=True)

    def __enter__(self) -> Self:
        """Begin to hear."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ends.set()
        self._thread.join()
        self._socket.close()

    def _hear(self) -> None:
        while not self._ends.is_set():
            try:
                said = self._socket.recv(1_024).decode()
            except TimeoutError:
                continue
            task, _, machine = said.partition(" ")
            now_s = time.monotonic()
            with self._lock:
                first_s = self._heard.get(task, ("", now_s, 0.0))[1]
                self._heard[task] = machine, first_s, now_s

    def beating(self, *, but: str = "") -> dict[str, tuple[str, float]]:
        """Tasks that beat now, except on one machine -> machine and first beat."""
        now_s = time.monotonic()
        with self._lock:
            return {
                task: (machine, first_s)
                for task, (machine, first_s, last_s) in self._heard.items()
                if machine != but and now_s - last_s < _BEATS_WITHIN_S
            }


class Rounds:
    """All rounds against one swarm, and what they gave."""

    def __init__(self, swarm: Swarm, beats: Beats, *, restart_delay_s: float | None) -> None:
        self._swarm = swarm
        self._beats = beats
        self._delay_s = restart_delay_s
        #: Scenario and what -> ms, one per round.
        self.values: dict[tuple[str, str], list[float]] = {}
        self.failures: list[str] = []

    def begin(self) -> None:
        """Run the service."""
        own: dict[str, Any] = {}
        if self._delay_s is not None:
            # Given at all, the policy's delay would be 0 where it is not named, and not Swarm's own.
            own["restart_policy"] = RestartPolicy(condition="any", delay=round(self._delay_s * 1e9))
        self._swarm.manager.api.services.create(
            IMAGE,
            command=["python3", "-c", _PROGRAM, HUB_IP, str(self._beats.port), str(_BEAT_EVERY_S)],
            name=_SERVICE,
            env=["TASK={{.Task.ID}}", "NODE={{.Node.Hostname}}"],
            networks=["host"],
            constraints=["node.role==worker"],
            mode=ServiceMode("replicated", REPLICAS),
            **own,
        )
        self._settle()

    def run(self, scenario: str) -> None:
        """One round: stop a machine, wait until all tasks beat elsewhere, let it come back."""
        self._settle()
        victim = self._pick()
        began_s = time.monotonic()
        if scenario == "monitor_and_node":
            self._swarm.manager.kill()
        victim.stop() if scenario == "node_silence" else victim.kill()
        if scenario == "monitor_and_node":
            self._swarm.manager.start()
        try:
            down_s = self._wait(
                lambda: self._swarm.states().get(victim.name) == "down", f"{victim.name} down"
            )
            self._wait(lambda: len(self._beats.beating(but=victim.name)) >= REPLICAS, "all tasks beating")
        except TimeoutError as error:
            self.failures.append(f"{scenario}: {error}")
        else:
            firsts = [first_s for _, first_s in self._beats.beating(but=victim.name).values()]
            self._note(scenario, "down", down_s - began_s)
            self._note(scenario, "recovered", max(firsts) - began_s)
        finally:
            victim.go_on() if scenario == "node_silence" else victim.start()

    def end(self) -> None:
        """Take the service away."""
        for service in self._swarm.manager.api.services.list(filters={"name": _SERVICE}):
            service.remove()
        self._wait(lambda: not self._beats.beating(), "no task beating")

    def _pick(self) -> Machine:
        """The worker with the most tasks."""
        carried = [machine for machine, _ in self._beats.beating().values()]
        return max(self._swarm.workers, key=lambda it: (carried.count(it.name), it.name))

    def _settle(self) -> None:
        names = {machine.name for machine in self._swarm.workers}

        def is_settled() -> bool:
            states = self._swarm.states()
            return len(self._beats.beating()) == REPLICAS and all(states.get(it) == "ready" for it in names)

        try:
            self._wait(is_settled, "a settled swarm")
        except TimeoutError as error:
            raise BenchError(str(error)) from None

    def _wait(self, condition: Callable[[], bool], what: str) -> float:
        """When it came true."""
        until_s = time.monotonic() + _HEALED_WITHIN_S
        while not condition():
            if time.monotonic() >= until_s:
                raise TimeoutError(f"no {what} within {_HEALED_WITHIN_S:g} s")
            time.sleep(_LOOK_EVERY_S)
        return time.monotonic()

    def _note(self, scenario: str, what: str, took_s: float) -> None:
        self.values.setdefault((scenario, what), []).append(1000 * took_s)
