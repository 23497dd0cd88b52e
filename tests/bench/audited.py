"""A small run as an audit would find it, made in virtual time: topics and journal. A test helper."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from bench.auditing.journal import Sent, Trouble, Truth
from bench.auditing.judge import judge_topics
from bench.auditing.recorded import Event, Heard, Topics
from sdk.contract.codec import Recorded
from sdk.contract.events import Event as AnyEvent
from tables.fold import Meta
from tests.tables.world import World, begin


def record(event: AnyEvent, offset: int, append_ms: int) -> Event:
    """An event on the log."""
    cause = getattr(event, "request", "")
    said = Recorded(f"id-{offset}", type(event).__name__, cause, "writer", event)
    return Event(said, Meta(offset, append_ms), str(event).encode())


def topics_of(world: World) -> Topics:
    """What a world has left on its topics."""
    events = [record(entry.event, entry.offset, entry.append_ms) for entry in world.log]
    heartbeats = [
        [Heard(it.offset, it.append_ms, it.record) for it in records]
        for _, records in sorted(world.heartbeats.items())
    ]
    requests = [event.said.cause for event in events if isinstance(event.said, Recorded) and event.said.cause]
    return Topics(events, heartbeats, dict(world.published), requests, [], [])


def sent(request: str, *, planned_ms: int = 0, acknowledged_ms: int = 0) -> Sent:
    """A request that was acknowledged."""
    return Sent(request, "RunApp", planned_ms, acknowledged_ms)


class Run:
    """A world with one node that was killed and replaced; everything about it may be tampered with."""

    def __init__(self) -> None:
        self.world = begin(6)
        self.victim = min(row.node for row in self.world.active())
        self.apps = sorted(self.world.state.apps_of_node[self.victim])
        self.struck_ms = self.world.now_ms
        self.world.agent(self.victim).paused = True
        # A silence of the full length, a replacement, and time in which nothing more happens.
        self.world.run(30_000, lambda: self.world.state.nodes[self.victim].status == "down")
        self.world.run(30_000, lambda: self.world.ready(3) and self.world.all_run())
        self.world.run(15_000)
        self.topics = topics_of(self.world)
        self.truth = Truth(
            troubles=[Trouble("pause node", [self.victim, *self.apps], self.struck_ms, 0, mute=True)],
            sent=[sent(request) for request in self.topics.requests],
        )

    @property
    def rules(self) -> list[str]:
        """The rules that the judges find broken, each once, in order."""
        judge = judge_topics(self.topics, self.truth, faults=1, seed=1)
        return list(dict.fromkeys(found.rule for found in judge.findings))

    def at(self, kind: type[AnyEvent]) -> int:
        """The place of the first event of a kind."""
        return next(entry.offset for entry in self.world.log if isinstance(entry.event, kind))

    def last(self, kind: type[AnyEvent]) -> int:
        """The place of the last event of a kind."""
        return max(entry.offset for entry in self.world.log if isinstance(entry.event, kind))

    def change(self, offset: int, **fields: Any) -> None:
        """Tamper with an event."""
        event = replace(self.world.log[offset].event, **fields)
        self.topics.events[offset] = record(event, offset, self.topics.events[offset].meta.append_ms)

    def append(self, event: AnyEvent) -> None:
        """Write one more event."""
        last = self.topics.events[-1].meta
        self.topics.events.append(record(event, last.offset + 1, last.append_ms + 10))

    def drop(self, offset: int) -> None:
        """Put an event that counts for nothing in the place of another, so that no offset moves."""
        self.change_to(offset, self.world.log[0].event)

    def change_to(self, offset: int, event: AnyEvent) -> None:
        """Put another event in the place of one."""
        self.topics.events[offset] = record(event, offset, self.topics.events[offset].meta.append_ms)
