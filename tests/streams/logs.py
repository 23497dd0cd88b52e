"""A log in memory for tests: events appended one by one, folded as they come. A test helper."""

from __future__ import annotations

from sdk.contract.codec import Recorded, decode_event, encode_event
from sdk.contract.events import (
    AppPlaced,
    AppStarted,
    AppSubmitted,
    Event,
    NodeOrdered,
    NodeRegistered,
    NodesRequested,
    PlannerStarted,
    PoolConfigured,
    Position,
    ProvisionerRegistered,
    SourceReturned,
)
from sdk.contract.ids import derive_id, node_id
from sdk.contract.specs import AppSpec
from streams.log_source import Entry, entry_of, fold_entry
from tables.fold import FOLD_VERSION, Outcome
from tables.state import State

#: Append time of the first record; any will do.
START_MS = 1_700_000_000_000


class Log:
    """Entries as a reader would yield them, and the state they fold into."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.outcomes: list[Outcome] = []
        self.state = State()
        self.now_ms = START_MS
        self.term = -1

    @property
    def end(self) -> int:
        """The offset that the next record gets."""
        return len(self.entries)

    def add_raw(self, raw: bytes | None) -> Entry:
        """Append any record."""
        self.now_ms += 10
        entry = entry_of(self.end, self.now_ms, raw)
        self.entries.append(entry)
        self.outcomes.append(fold_entry(self.state, entry))
        return entry

    def add(self, event: Event, *, cause: str = "", accepted: bool = True) -> int:
        """Append an event and return its offset; it must count unless the test says otherwise."""
        event_id = derive_id("test", self.end)
        raw = encode_event(event, event_id=event_id, cause=cause, writer="writer-1", at_ms=self.now_ms)
        entry = self.add_raw(raw)
        assert self.outcomes[-1].accepted is accepted, self.outcomes[-1].dropped
        return entry.offset

    def start(self, *, nodes: int = 1, slots: int = 4) -> None:
        """A planner, a pool, its provisioner and nodes on ports from 8082."""
        self.term = self.add(PlannerStarted("writer-1", FOLD_VERSION))
        self.add(PoolConfigured("request-pool", "pool-local", nodes, slots))
        self.add(ProvisionerRegistered("pool-local", "claim-pool", 0, "boot", Position(0, self.end)))
        for number in range(nodes):
            self.add_node(8082 + number, slots=slots)

    def add_node(self, port: int, *, slots: int = 4) -> str:
        """A node that was ordered and registered."""
        order = self.add(
            NodeOrdered(
                term=self.term,
                based_on=self.end - 1,
                policy=-1,
                pool="pool-local",
                slots=slots,
                port_floor=port,
            )
        )
        node = node_id("127.0.0.1", port)
        self.add(
            NodeRegistered(
                node=node,
                claim=f"claim-{port}",
                order=order,
                old_registration=0,
                ip="127.0.0.1",
                port=port,
                pool="pool-local",
                slots=slots,
                drivers=["process"],
                boot_id="boot",
                position=Position(0, self.end),
            )
        )
        return node

    def want_node(self) -> int:
        """Somebody asks for one more node."""
        return self.add(NodesRequested(f"request-{self.end}", "pool-local", 1))

    def add_app(self, app: str, node: str, *, running: bool = True) -> int:
        """An app that was submitted, placed and (unless told otherwise) has beaten; its generation."""
        self.add(AppSubmitted(f"request-{app}", AppSpec(app, ["true"])))
        generation = self.add(self.placement(app, node))
        if running:
            self.add(AppStarted(app, generation, node, Position(0, self.end)))
        return generation

    def placement(self, app: str, node: str) -> AppPlaced:
        """The decision that places an app on a node now."""
        return AppPlaced(
            term=self.term,
            based_on=self.end - 1,
            policy=-1,
            app=app,
            node=node,
            registration=self.state.nodes[node].registration,
            replaces=self.state.apps[app].generation,
            reason="new",
            wake_ms=30_000,
        )

    def add_lone(self, source: str) -> int:
        """A lone source that was heard for the first time."""
        return self.add(SourceReturned(source, "lone", 0, "topic-id", 0, self.end))


def said(entry: Entry) -> Recorded:
    """The event in an entry that is one."""
    assert entry.raw is not None
    return decode_event(entry.raw)
