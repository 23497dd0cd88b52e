"""A real docker daemon for tests, in a network namespace of its own: `scripts/docker-daemon` has it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import subprocess
import tempfile
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
#: Locked while somebody starts or stops the daemon.
_TURN = Path(tempfile.gettempdir()) / "watchkeep-docker-tests.turn"
#: Shared by every process that uses it; holds a line if one of them started it.
_USERS = Path(tempfile.gettempdir()) / "watchkeep-docker-tests.users"


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


@contextmanager
def running_daemon() -> Iterator[Daemon]:
    """A daemon with an image of this machine's Python.

    Several processes may run tests at the same time: one of them starts it, and the last one that leaves stops it,
    unless it was there before all of them.

    Raises:
        NoDaemonError: there is none.
    """
    space, host = subprocess.run(
        [str(_PROGRAM), "where"], check=True, capture_output=True, text=True
    ).stdout.split()
    with _TURN.open("a") as turn, _USERS.open("a+") as users:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not _answers(host):
            _start()
            users.write("ours\n")
            users.flush()
        if not is_current(IMAGE, host):
            build(IMAGE, host)
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield Daemon(host, space)
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if users.seek(0, os.SEEK_END):
            users.truncate(0)
            subprocess.run([str(_PROGRAM), "stop"], check=False, timeout=120)


def _start() -> None:
    done = subprocess.run(
        [str(_PROGRAM), "start"], check=False, capture_output=True, text=True, timeout=_START_WITHIN_S
    )
    if done.returncode:
        raise NoDaemonError((done.stderr.strip().splitlines() or ["no reason given"])[-1])


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
