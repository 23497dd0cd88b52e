"""Looks at the processes of the audited platform all the time and writes down who lives. Shell."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from bench.auditing.journal import Journal
from bench.auditing.victims import agent_pids
from streams.local.looking import Looking
from streams.local.processes import MARK_ENV, ProcessId, identify
from streams.local.rig import Rig
from streams.local.rig_children import Minded

_LOOK_EVERY_S: Final = 0.5


class ProcessWatch(Looking):
    """A thread that looks; an app's copy is known by the environment it was started with."""

    def __init__(self, rig: Rig, journal: Journal) -> None:
        super().__init__("process watch", _LOOK_EVERY_S)
        self._rig = rig
        self._journal = journal
        #: What each process is: an environment is read once in its life.
        self._known: dict[ProcessId, tuple[str, int] | None] = {}
        self._codes: dict[str, int] = {}

    def look(self) -> None:
        """Write down who lives now."""
        self._look_at_children()
        self._look_at_copies()
        for node, pid in agent_pids(self._rig).items():
            if pid and identify(pid):
                self._journal.alive(node, 0, pid)

    def _look_at_children(self) -> None:
        kept: dict[str, Minded | None] = {**self._rig.workers, "provisioner": self._rig.provisioner}
        for name, minded in kept.items():
            if minded is None:
                continue
            known = self._codes.get(name, 0)
            for code in minded.exit_codes[known:]:
                self._journal.died(name, code)
            self._codes[name] = len(minded.exit_codes)

    def _look_at_copies(self) -> None:
        living: dict[ProcessId, tuple[str, int] | None] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            process = identify(int(entry.name))
            if process is None:
                continue
            copy = self._known[process] if process in self._known else self._copy_of(process.pid)
            living[process] = copy
            if copy is not None:
                self._journal.alive(*copy, process.pid)
        self._known = living

    def _copy_of(self, pid: int) -> tuple[str, int] | None:
        """The app and generation that a process of the rig runs."""
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            variables = dict(word.split(b"=", 1) for word in words if b"=" in word)
            if variables.get(MARK_ENV.encode()) == self._rig.mark.encode():
                app = variables.get(b"WATCHKEEP_APP_ID", b"").decode()
                return (app, int(variables.get(b"WATCHKEEP_GENERATION", b"0"))) if app else None
        return None
