"""How long recorded restarts took, so that others can be reckoned with. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from sdk.contract import events as e
from tables.state import State

#: How an app came back: on a node that was there (by itself, or with others of a dead node), or on a new one.
Way = Literal["app", "spread", "new-node"]
#: What stands in for a way that was not recorded, nearest first.
_INSTEAD: dict[Way, tuple[Way, ...]] = {
    "app": ("app", "spread", "new-node"),
    "spread": ("spread", "app", "new-node"),
    "new-node": ("new-node", "spread", "app"),
}
#: Times are counted in steps of this, ms, so that memory does not grow with the log.
_STEP_MS = 50


class Recoveries:
    """Times from the end of a copy to the first beat of the next, by the way it came back."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, Way]] = {}
        self.counts: dict[Way, Counter[int]] = {way: Counter() for way in _INSTEAD}

    def see(self, event: e.Event, at_ms: int, apps: set[str], state: State) -> None:
        """An event that counted, with the apps of the node that it is about."""
        match event:
            case e.NodeDeclaredDown():
                way: Way = "spread" if state.policy.on_node_failure == "spread" else "new-node"
                self._since.update((app, (at_ms, way)) for app in apps)
            case e.AppDeclaredDown() | e.AppExited():
                self._since.setdefault(event.app, (at_ms, "app"))
            case e.AppStarted():
                since = self._since.pop(event.app, None)
                if since is not None:
                    self.counts[since[1]][(at_ms - since[0]) // _STEP_MS] += 1
            case _:
                pass

    def median_ms(self, way: Way) -> int:
        """How long such a restart took, or one like it; 0 if none was recorded."""
        for each in _INSTEAD[way]:
            counts = self.counts[each]
            half = counts.total() / 2
            for step in sorted(counts):
                half -= counts[step]
                if half <= 0:
                    return step * _STEP_MS
        return 0
