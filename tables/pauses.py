"""Pauses of the watch: maintenance of a node, of an app or of everything. Pure.

What a pause holds back is what the platform concludes by itself about its subject: that it is down, that its copy is
condemned, that it is restarted or replaced. Facts are recorded as ever, and what people ask for is done. So when the
pause is over, what is still silent or gone is decided at once, from the same rows.
"""

from tables.rows import AppRow
from tables.state import State

#: Subject of a pause of everything.
PLATFORM = "platform"
#: Shortest and longest pause. Source: below a second nobody can do anything; a week is the longest that a mistake may
#: go unnoticed, and who works longer asks again.
PAUSE_MIN_MS, PAUSE_MAX_MS = 1_000, 604_800_000


def check_pause(state: State, subject: str, for_ms: int) -> None:
    """Raise ValueError, naming what is allowed, unless the watch over this subject can be paused for so long."""
    if subject != PLATFORM and subject not in state.nodes and subject not in state.apps:
        raise ValueError(f"no node or app {subject!r:.80} to pause the watch over")
    if not PAUSE_MIN_MS <= for_ms <= PAUSE_MAX_MS:
        raise ValueError(f"for_ms: {for_ms} is out of range; allowed: {PAUSE_MIN_MS} to {PAUSE_MAX_MS} (7 d)")


def is_node_paused(state: State, node: str) -> bool:
    """Whether nothing is to be concluded about a node now."""
    return bool(state.pauses) and (PLATFORM in state.pauses or node in state.pauses)


def is_app_paused(state: State, app: AppRow) -> bool:
    """Whether nothing is to be concluded about an app now: a pause of its node covers it, also after that node died."""
    return bool(state.pauses) and (is_node_paused(state, app.node) or app.app in state.pauses)
