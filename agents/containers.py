"""The port to a docker daemon, as narrow as driver and provider need it. Shell of the agents.

Calls block and belong into a thread (`agents.docker_calls`). Each raises `ContainerError` with a text for
people, `NoContainerError` if there is no such container. `agents.docker_sdk` is the real one.
"""

import signal
import socket
from typing import Literal, Protocol

import msgspec

from sdk.contract.frames import Terminal

#: Exit code, None if nobody knows, and the reason in words.
Outcome = tuple[int | None, str]


class ContainerError(OSError):
    """The daemon refused, or did not answer; the text says what it said."""


class DaemonAwayError(ContainerError):
    """The daemon does not answer; what was asked may still come about."""


class NoContainerError(ContainerError):
    """There is no such container."""


class Container(msgspec.Struct, frozen=True):
    """A container as the daemon knows it."""

    id: str
    name: str
    labels: dict[str, str]
    #: The daemon's word: created, running, paused, restarting, removing, exited, dead.
    status: str
    #: Its first process as the machine numbers it, 0 if none runs.
    pid: int = 0
    exit_code: int | None = None
    #: It was ended for using more memory than it may.
    out_of_memory: bool = False
    network: str = ""
    #: Its own address, empty in the machine's network.
    ip: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether processes of it may exist."""
        return self.status in ("running", "paused", "restarting", "removing")


class Mount(msgspec.Struct, frozen=True):
    """A folder of the machine inside a container."""

    source: str
    target: str
    read_only: bool = True


class ContainerPlan(msgspec.Struct, frozen=True):
    """All that a container is made of."""

    name: str
    image: str
    command: list[str]
    env: dict[str, str]
    labels: dict[str, str]
    network: str = "host"
    user: str = ""
    read_only: bool = True
    #: 0: no limit of its own.
    memory_mib: int = 0
    #: Of one core; 0: no limit of its own.
    cpu_percent: int = 0
    mounts: list[Mount] = []
    working_dir: str = ""


class Containers(Protocol):
    """A docker daemon."""

    def close(self) -> None:
        """Let go of its connections."""
        ...

    def ping(self) -> None:
        """Return if the daemon answers."""
        ...

    def run(self, plan: ContainerPlan) -> Container:
        """Create and start a container; one of that name and those labels that is there is used as it is.

        Never pulls an image. What cannot be started is removed again.
        """
        ...

    def list_labelled(self, labels: dict[str, str]) -> list[Container]:
        """All containers with these labels, whatever their status."""
        ...

    def look_up(self, container: str) -> Container:
        """One container by its id."""
        ...

    def signal(self, container: str, number: Literal["SIGTERM", "SIGKILL"]) -> None:
        """Signal a container; one that does not run is left alone, a paused one is continued."""
        ...

    def remove(self, container: str) -> None:
        """Remove a container, running or not; one that is not there is fine."""
        ...

    def log_tail(self, container: str, lines: int) -> bytes:
        """The last lines that it wrote."""
        ...

    def execute(
        self, container: str, command: list[str], terminal: Terminal | None = None
    ) -> tuple[str, socket.socket, bytes]:
        """Begin a command inside: its id, the connection to its input and outputs, and what was read of it already.

        Outputs come as docker's frames, from a terminal as they are; the end of what is sent is the end of its input.
        """
        ...

    def resize_command(self, command: str, rows: int, columns: int) -> None:
        """Its terminal has this size now."""
        ...

    def look_up_command(self, command: str) -> tuple[int, int | None]:
        """Pid as the machine numbers it, 0 if none, and exit code, None while it runs."""
        ...

    def gateway(self, network: str) -> str:
        """The address of this machine in a bridge network."""
        ...


def outcome_of(ended: Container | None) -> Outcome:
    """Exit code and reason; an init gives 128 and the number for a program that a signal ended."""
    if ended is None or ended.exit_code is None:
        return None, "its container is gone" if ended is None else "ended; docker does not say how"
    code = ended.exit_code
    if ended.out_of_memory:
        return -signal.SIGKILL, "killed: it used more memory than it may"
    if 128 < code <= 128 + signal.SIGRTMAX:  # noqa: PLR2004 - see the first line
        return 128 - code, f"killed by signal {code - 128}"
    return code, f"exited with code {code}"
