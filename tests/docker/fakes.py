"""A docker daemon that is a dictionary: for machines without one, and for daemons that hang."""

from __future__ import annotations

import socket
import threading
from typing import Literal

from msgspec.structs import replace

from agents.containers import Container, ContainerError, ContainerPlan, DaemonAwayError, NoContainerError
from sdk.contract.frames import Terminal

#: Ids of made-up processes; no real pid is ever so high.
_FIRST_PID = 20_000_000
_CODES = {"SIGTERM": 143, "SIGKILL": 137}


class FakeDaemon:
    """Knows the programs `sleep`, which goes on, and `false`, which ends with 1, in one image."""

    def __init__(self, image: str, programs: tuple[str, ...] | None = ("sleep", "false")) -> None:
        """Make a daemon whose image has these programs, None for whatever is asked for."""
        self.image = image
        self.programs = programs
        self.there: dict[str, Container] = {}
        self.plans: list[ContainerPlan] = []
        #: Set while it answers; whoever asks an unset one waits, as with a daemon that hangs.
        self.answers = threading.Event()
        self.answers.set()
        #: It is not even there.
        self.is_away = False
        self._made = 0
        self._lock = threading.RLock()

    def close(self) -> None:
        """Nothing to close."""

    def ping(self) -> None:
        """Answer."""
        self._wait()

    def run(self, plan: ContainerPlan) -> Container:
        """Start a made-up container."""
        self._wait()
        with self._lock:
            if plan.image != self.image:
                raise ContainerError(f"there is no image {plan.image}")
            known = next((it for it in self.there.values() if it.name == plan.name), None)
            if known is not None and known.status != "created":
                return known
            if self.programs is not None and plan.command[0] not in self.programs:
                raise ContainerError(f"cannot start {plan.command[0]}")
            self._made += 1
            made = Container(
                id=f"c{self._made}",
                name=plan.name,
                labels=plan.labels,
                status="running",
                pid=_FIRST_PID + self._made,
                network=plan.network,
                ip=f"172.30.0.{1 + self._made % 250}" if plan.network != "host" else "",
            )
            self.plans.append(plan)
            self.there[made.id] = made
            if plan.command[0] == "false":
                self.end(made.id, 1)
            return made

    def list_labelled(self, labels: dict[str, str]) -> list[Container]:
        """All with these labels."""
        self._wait()
        return [it for it in self.there.copy().values() if labels.items() <= it.labels.items()]

    def look_up(self, container: str) -> Container:
        """One."""
        self._wait()
        if container not in self.there:
            raise NoContainerError(f"no container {container}")
        return self.there[container]

    def signal(self, container: str, number: Literal["SIGTERM", "SIGKILL"]) -> None:
        """Made-up containers obey."""
        if self.look_up(container).is_alive:
            self.end(container, _CODES[number])

    def remove(self, container: str) -> None:
        """Gone."""
        self._wait()
        self.there.pop(container, None)

    def log_tail(self, container: str, lines: int) -> bytes:
        """Made-up containers say little."""
        self.look_up(container)
        return f"{lines} lines of {container}\n".encode()

    def execute(
        self, container: str, _command: list[str], _terminal: Terminal | None = None
    ) -> tuple[str, socket.socket, bytes]:
        """Made-up containers run nothing else."""
        self.look_up(container)
        raise ContainerError("made up")

    def resize_command(self, command: str, _rows: int, _columns: int) -> None:
        """None was ever begun."""
        raise NoContainerError(f"no command {command}")

    def look_up_command(self, command: str) -> tuple[int, int | None]:
        """None was ever begun."""
        raise NoContainerError(f"no command {command}")

    def gateway(self, network: str) -> str:
        """Some address."""
        self._wait()
        return "127.0.0.1" if network == "bridge" else ""

    def end(self, container: str, code: int, *, out_of_memory: bool = False) -> None:
        """A container ends."""
        with self._lock:
            self.there[container] = replace(
                self.there[container], status="exited", pid=0, exit_code=code, out_of_memory=out_of_memory
            )

    def _wait(self) -> None:
        if self.is_away:
            raise DaemonAwayError("the docker daemon does not answer: it is away")
        # The bound is a net for a test that forgets to set it.
        self.answers.wait(30)
