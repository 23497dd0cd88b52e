"""The arithmetic of `bench.failover`: what the log and the heartbeats say about one fault. Pure.

Append times are the broker's; the bench asks for `CLOCK_REALTIME` of the same machine when it kills, so that
the two may be subtracted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sdk.contract.codec import Recorded
from sdk.contract.events import (
    AppDeclaredDown,
    AppExited,
    AppPlaced,
    NodeDeclaredDown,
    NodeExited,
    OverdueShareChanged,
    SourceFellSilent,
)
from sdk.contract.heartbeats import Report
from streams.local.rig_log import Heard, Seen


class Copy(NamedTuple):
    """One generation of an app."""

    app: str
    generation: int


class Stopped:
    """What the bench stopped, killed or asked to stop: nothing that is said about it is false."""

    def __init__(self) -> None:
        self.nodes: set[str] = set()
        self.copies: set[Copy] = set()
        #: Apps that were asked to stop for good.
        self.apps: set[str] = set()
        #: Lone sources, such as workers.
        self.sources: set[str] = set()

    def add_node(self, node: str, copies: Iterable[Copy]) -> None:
        """A node and what it carried."""
        self.nodes.add(node)
        self.copies.update(copies)

    def has_copy(self, app: str, generation: int) -> bool:
        """Whether this generation was stopped."""
        return app in self.apps or Copy(app, generation) in self.copies

    def has_source(self, source: str, epoch: int) -> bool:
        """Whether a source was stopped, of whatever kind it is."""
        return source in self.nodes or source in self.sources or self.has_copy(source, epoch)


def over_limit_ms(fact: Seen, heard: Iterable[Heard], *, node: str, limit_ms: int) -> int:
    """How much later than `limit_ms` after the node's last report the fact was appended.

    Raises:
        LookupError: no report of the node came before the fact.
    """
    last_ms = max(
        (
            it.append_ms
            for it in heard
            if isinstance(it.said, Report) and it.said.reporter == node and it.append_ms <= fact.append_ms
        ),
        default=None,
    )
    if last_ms is None:
        raise LookupError(f"no report of {node} before {fact}")
    return fact.append_ms - (last_ms + limit_ms)


def first_beats_ms(heard: Iterable[Heard], copies: Mapping[str, int]) -> dict[str, int]:
    """Append time of the first report that names each app in this generation as beating."""
    found: dict[str, int] = {}
    for it in heard:
        if not isinstance(it.said, Report):
            continue
        for entry in it.said.apps:
            if entry.status == "running" and copies.get(entry.app) == entry.generation:
                found[entry.app] = min(it.append_ms, found.get(entry.app, it.append_ms))
    return found


def find_false_facts(events: Iterable[Seen], stopped: Stopped) -> list[Seen]:
    """Facts that accuse what nobody stopped, whether the fold took them or not.

    `SourceReturned` is none of them: a false one follows a false silence, which counts.
    """
    return [seen for seen in events if isinstance(seen.said, Recorded) and _accuses(seen.said.event, stopped)]


def _accuses(event: object, stopped: Stopped) -> bool:
    match event:
        case SourceFellSilent():
            return not stopped.has_source(event.source, event.epoch)
        case AppExited():
            return not stopped.has_copy(event.app, event.generation)
        case NodeExited():
            return event.node not in stopped.nodes
        case OverdueShareChanged():
            # One node of three is never over a bound; with nothing stopped none is overdue at all.
            return event.band != "calm"
    return False


def find_false_restarts(events: Iterable[Seen], stopped: Stopped) -> list[Seen]:
    """Accepted decisions that end or replace what nobody stopped."""
    return [
        seen
        for seen in events
        if isinstance(seen.said, Recorded) and seen.outcome.accepted and _restarts(seen.said.event, stopped)
    ]


def _restarts(event: object, stopped: Stopped) -> bool:
    match event:
        case AppPlaced():
            return event.replaces > 0 and not stopped.has_copy(event.app, event.replaces)
        case AppDeclaredDown():
            return not stopped.has_copy(event.app, event.generation)
        case NodeDeclaredDown():
            return event.node not in stopped.nodes
    return False
