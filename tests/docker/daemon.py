"""A real docker daemon for tests, in a network namespace of its own: `scripts/docker-daemon` has it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from agents.containers import ContainerError
from agents.docker_image import IMAGE, build, is_current
from agents.docker_sdk import DockerContainers
from streams.local.jars import ensure_jars
from streams.settings import Settings

_PROGRAM = Path(__file__).resolve().parents[2] / "scripts" / "docker-daemon"
#: An installation, a start and some room.
_START_WITHIN_S = 420
_CLONE_NEWNET = 0x4000_0000


class NoDaemonError(RuntimeError):
    """No daemon can be had; the text says why."""


class Daemon(NamedTuple):
    """Where it is."""

    host: str
    #: Network namespace that it lives in; what shares the "host" network with a container must be there too.
    space: str

    @contextmanager
    def network(self) -> Iterator[None]:
        """This thread, and what it starts, in the daemon's network; it has no way out, so Kafka is fetched first."""
        ensure_jars(Settings().kafka_version)
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(self.space) as there:  # noqa: PTH123 - no path of ours
            _enter(libc, there.fileno())
            try:
                yield
            finally:
                _enter(libc, home.fileno())

    def stop(self) -> None:
        """Stop it, with all its containers."""
        subprocess.run([str(_PROGRAM), "stop"], check=False, timeout=120)


def start_daemon() -> tuple[Daemon, bool]:
    """A daemon with an image of this machine's Python, and whether it was started just now.

    Raises:
        NoDaemonError: there is none.
    """
    space, host = subprocess.run(
        [str(_PROGRAM), "where"], check=True, capture_output=True, text=True
    ).stdout.split()
    daemon = Daemon(host, space)
    was_there = _answers(host)
    if not was_there:
        done = subprocess.run(
            [str(_PROGRAM), "start"], check=False, capture_output=True, text=True, timeout=_START_WITHIN_S
        )
        if done.returncode:
            raise NoDaemonError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    if not is_current(IMAGE, host):
        build(IMAGE, host)
    return daemon, not was_there


def _answers(host: str) -> bool:
    try:
        with closing(DockerContainers(host)) as containers:
            containers.ping()
    except ContainerError:
        return False
    return True


def _enter(libc: ctypes.CDLL, space: int) -> None:
    if libc.setns(space, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
