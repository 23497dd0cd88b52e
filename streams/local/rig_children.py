"""The processes of a rig: started, started again after they died, and found wherever they hang. Shell.

1. A process is known by its name in the rig (`worker-1`, `provisioner`); its pid changes with each life.
2. Everything that a rig starts carries its mark in the environment, also what starts a session of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from streams.local.looking import Looking
from streams.local.processes import MARK_ENV, ProcessId, find_marked

#: Pause before a dead process is started again. Source: the first pause of `up`; always the first, because a
#: test kills more often than a night does.
RESTART_PAUSE_S: Final = 1.0
_POLL_S: Final = 0.02


class Minded:
    """One process of a rig over all its lives."""

    def __init__(self, argv: list[str], *, env: Mapping[str, str], cwd: str, log: Path) -> None:
        self._argv = argv
        self._env = {**os.environ, **env}
        self._cwd = cwd
        self._log = log
        #: Whether it is started again when it ends; settable at any time.
        self.restarts = True
        #: Exit codes of the lives that have ended, oldest first.
        self.exit_codes: list[int] = []
        self._lock = threading.Lock()
        self._popen: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._mind, name=f"mind {log.stem}", daemon=True)

    def start(self) -> None:
        """Start the process and mind it from now on."""
        self._spawn()
        self._thread.start()

    @property
    def pid(self) -> int:
        """The process of the present life, 0 while there is none."""
        popen = self._popen
        return popen.pid if popen is not None and popen.poll() is None else 0

    def signal(self, number: signal.Signals) -> int:
        """Send a signal to the present life and return its pid, 0 if there is none."""
        pid = self.pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid

    def stop(self, grace_s: float) -> None:
        """End it for good: asked first, killed after the grace."""
        self.forsake()
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        deadline_s = time.monotonic() + grace_s
        while self.pid and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        self.kill()

    def forsake(self) -> None:
        """Do not start it again."""
        self.restarts = False
        self._stopping.set()

    def kill(self) -> None:
        """End it at once, for good."""
        self.forsake()
        self.signal(signal.SIGKILL)
        if self._thread.ident is not None:
            self._thread.join(5.0)

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._argv,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _mind(self) -> None:
        while True:
            assert self._popen is not None
            self.exit_codes.append(self._popen.wait())
            if self._stopping.wait(RESTART_PAUSE_S):
                return
            while not self.restarts:
                if self._stopping.wait(_POLL_S):
                    return
            with self._lock:
                if self._stopping.is_set():
                    return
                self._spawn()


class Running(NamedTuple):
    """A process that runs a copy of an app."""

    app: str
    generation: int
    pid: int


def running_copies(mark: str) -> list[Running]:
    """Every process of the rig that carries an app's name and generation."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            variables = dict(
                word.split(b"=", 1) for word in (entry / "environ").read_bytes().split(b"\0") if b"=" in word
            )
            if variables.get(MARK_ENV.encode()) == mark.encode() and b"WATCHKEEP_APP_ID" in variables:
                app = variables[b"WATCHKEEP_APP_ID"].decode()
                found.append(Running(app, int(variables.get(b"WATCHKEEP_GENERATION", b"0")), int(entry.name)))
    return found


def kill_marked(mark: str, *, within_s: float = 10.0) -> list[ProcessId]:
    """Kill whatever carries the mark until nothing does; what is left after the bound is returned."""
    deadline_s = time.monotonic() + within_s
    while (left := find_marked(mark)) and time.monotonic() < deadline_s:
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    return left


class CopyWatch(Looking):
    """Looks at the rig's processes all the time and remembers apps of which two generations ran at once."""

    def __init__(self, mark: str) -> None:
        super().__init__("copy watch", _POLL_S)
        self._mark = mark
        #: One sentence for each pair seen.
        self.doubles: list[str] = []

    def look(self) -> None:
        """Remember who runs twice now."""
        seen: dict[str, set[int]] = {}
        for copy in running_copies(self._mark):
            seen.setdefault(copy.app, set()).add(copy.generation)
        for app, generations in seen.items():
            sentence = f"{app} ran in generations {sorted(generations)} at once"
            if len(generations) > 1 and sentence not in self.doubles:
                self.doubles.append(sentence)
