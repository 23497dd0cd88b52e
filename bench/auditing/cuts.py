"""The audit's end of the proxy that cuts clients off from the broker: starts it, tells it, ends it. Shell."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

from bench.results import BenchError
from streams.local.broker import LocalBroker
from streams.local.ports import find_free_ports
from streams.local.processes import MARK_ENV

Way = Literal["up", "down", "both"]

_ANSWER_WITHIN_S: Final = 10.0


class Ports(NamedTuple):
    """Where those connect who may be cut off, and where their proxy carries them to."""

    proxy: int
    behind: int


def create_cut_broker(folder: Path) -> tuple[LocalBroker, Ports]:
    """A broker that others reach directly at its `bootstrap` and its victims through a proxy; it is not started.

    Clients follow the address that a broker advertises, so it gets a second listener, and advertises the proxy's
    address on it.
    """
    port, controller_port, behind, proxy = find_free_ports(4)
    broker = LocalBroker(
        folder,
        port=port,
        controller_port=controller_port,
        extra={
            "listeners": f"PLAINTEXT://127.0.0.1:{port},VIA://127.0.0.1:{behind},"
            f"CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},VIA://127.0.0.1:{proxy}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,VIA:PLAINTEXT,CONTROLLER:PLAINTEXT",
        },
    )
    return broker, Ports(proxy, behind)


class Cuts:
    """A running proxy."""

    def __init__(self, *, port: int, broker_port: int, mark: str) -> None:
        self._argv = [sys.executable, "-m", "bench.auditing.cut_proxy", str(port), str(broker_port)]
        self._env = {**os.environ, MARK_ENV: mark}
        self._process: subprocess.Popen[str] | None = None
        self._listener = threading.Thread(target=self._listen, name="cuts", daemon=True)
        self._answers = threading.Semaphore(0)
        self._lock = threading.Lock()
        #: Told the wall clock, ms, and for how long the proxy was not scheduled, ms.
        self.on_late: Callable[[int, int], None] = lambda _at_ms, _late_ms: None

    def __enter__(self) -> Self:
        """Start it and return once it listens."""
        self._process = subprocess.Popen(
            self._argv,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._listener.start()
        self._wait_answer()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self._process is None:
            return
        self._process.kill()
        self._listener.join()
        # Closes both pipes and collects it.
        with contextlib.suppress(BrokenPipeError), self._process:
            pass

    def cut(self, pid: int, way: Way) -> None:
        """Carry nothing of this process any more."""
        self._tell(f"cut {pid} {way}")

    def heal(self, pid: int) -> None:
        """Carry everything again."""
        self._tell(f"heal {pid}")

    def _tell(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with self._lock:
            try:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            except OSError:
                raise BenchError("The proxy before the broker has ended.") from None
            self._wait_answer()

    def _wait_answer(self) -> None:
        if not self._answers.acquire(timeout=_ANSWER_WITHIN_S):
            raise BenchError("The proxy before the broker does not answer.")

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, *rest = line.split()
            if word == "late":
                self.on_late(time.time_ns() // 1_000_000, int(rest[0]))
            else:
                self._answers.release()
