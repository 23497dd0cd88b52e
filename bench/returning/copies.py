"""For how long two generations of an app ran together: arithmetic on looks at processes, and who looks. Shell.

1. Between two looks that both show two generations running, both ran. A look takes time: what it does not show was
   gone when it ended, what it shows was there when it began.
2. A process that a signal has stopped is there and does not run.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from streams.local.looking import Looking
from streams.local.processes import DEAD, state_of
from streams.local.rig_children import running_copies

#: Between two looks, s: a tenth of the shortest time that the table speaks of.
LOOK_EVERY_S: Final = 0.05


class Copy(NamedTuple):
    """A process of an app, as a look shows it."""

    app: str
    generation: int
    is_stopped: bool = False


class Lives:
    """What the looks so far have shown."""

    def __init__(self) -> None:
        #: App -> time in which two generations ran, ms.
        self.together_ms: dict[str, int] = defaultdict(int)
        #: Copy -> the first and the last look that showed it, stopped or not, ms of the machine's clock.
        self.first_ms: dict[tuple[str, int], int] = {}
        self.last_ms: dict[tuple[str, int], int] = {}
        #: Copy -> the end of the first look that did not show it any more.
        self.gone_ms: dict[tuple[str, int], int] = {}
        self._looked_ms = 0
        self._there: set[tuple[str, int]] = set()
        self._doubled: set[str] = set()

    def look(self, at_ms: int, end_ms: int, copies: Iterable[Copy]) -> None:
        """Take a look into account, with when it began and ended; times only grow."""
        running: dict[str, set[int]] = defaultdict(set)
        there = set()
        for copy in copies:
            key = copy.app, copy.generation
            there.add(key)
            self.first_ms.setdefault(key, at_ms)
            self.last_ms[key] = at_ms
            if not copy.is_stopped:
                running[copy.app].add(copy.generation)
        doubled = {app for app, generations in running.items() if len(generations) > 1}
        for app in doubled & self._doubled:
            self.together_ms[app] += at_ms - self._looked_ms
        for app in doubled - self._doubled:
            # Seen once: as long as that, at least.
            self.together_ms[app] += 1
        self.gone_ms.update(dict.fromkeys(self._there - there, end_ms))
        self._doubled, self._there, self._looked_ms = doubled, there, at_ms


class CopyLooking(Looking):
    """Looks at the processes of a rig all the time."""

    def __init__(self, mark: str) -> None:
        super().__init__("looking", LOOK_EVERY_S)
        self.lives = Lives()
        self._mark = mark

    def look(self) -> None:
        """Take what runs now into account."""
        at_ms = _now_ms()
        found = [
            Copy(it.app, it.generation, state == "T")
            for it in running_copies(self._mark)
            if (state := state_of(it.pid)) not in DEAD
        ]
        self.lives.look(at_ms, _now_ms(), found)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
