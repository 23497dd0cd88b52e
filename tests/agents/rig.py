"""A runner with a virtual clock around it: time moves only when a test says so."""

from typing import TypeVar

from agents import inputs as i
from agents.runner import advance, next_wake
from agents.state import Found, Identity, Image, State, first_state
from sdk.contract.heartbeats import AppEntry, Hello, NodeEntry, PoolReport, Report, Unchanged
from sdk.contract.orders import AppOrder, NodeOrder, NodeOrders, PoolOrders

T = TypeVar("T")
NODE = "node-10.0.0.1_8101"
POOL = "pool-home"
LOG = "log-1"


def node_identity() -> Identity:
    """A node agent."""
    return Identity("node", NODE, 7, "10.0.0.1", 8101, "home", 4, ["process"], "boot")


def pool_identity() -> Identity:
    """A provisioner."""
    return Identity("pool", POOL, 0, "10.0.0.1", 0, "home", 0, ["process"], "boot")


class Rig:
    """An agent under test: its state, its time, and everything it ever said."""

    def __init__(
        self,
        identity: Identity | None = None,
        *,
        image: Image | None = None,
        found: list[Found] | None = None,
    ) -> None:
        self.identity = identity or node_identity()
        self.state: State = first_state(self.identity, image or Image(), found or [])
        self.now_ms = 0
        self.out: list[i.Instruction] = []
        #: Every instruction with its time.
        self.history: list[tuple[int, i.Instruction]] = []
        self.claims = 0
        #: Whether Kafka acknowledges what is sent.
        self.is_kafka_there = True
        #: Offset of the record acknowledged last; -1: none is told, so that every report is full.
        self.offset = -1
        self.draw_claim()

    def _stand(self) -> int:
        """Where the next record comes to stand, if Kafka says so."""
        if self.offset < 0:
            return -1
        self.offset += 7
        return self.offset

    @property
    def claim(self) -> str:
        """The claim drawn last."""
        return f"claim-{self.claims}"

    def draw_claim(self) -> None:
        """Draw the next claim and hand it in."""
        self.claims += 1
        self.give(i.ClaimDrawn(self.claim))

    def give(self, *items: i.Input) -> list[i.Instruction]:
        """One turn with these inputs at the present time; what it brought."""
        self.state, out = advance(self.state, self.now_ms, items)
        self.out = list(out)
        self.history += [(self.now_ms, instruction) for instruction in out]
        for instruction in out:
            if isinstance(instruction, i.DrawClaim):
                self.draw_claim()
                out += self.out
        for record in [it.record for it in out if isinstance(it, i.Send)]:
            if self.is_kafka_there:
                more = self.give(i.Acknowledged(record.number, not isinstance(record, Hello), self._stand()))
                out += more
        self.out = out
        return out

    def wait(self, ms: int) -> list[i.Instruction]:
        """Let time pass, with a turn whenever the runner wants one; what all of them brought."""
        end_ms = self.now_ms + ms
        out: list[i.Instruction] = []
        while (wake_ms := max(next_wake(self.state), self.now_ms + 1)) <= end_ms:
            self.now_ms = wake_ms
            out += self.give()
        self.now_ms = end_ms
        return out + self.give()

    def node_orders(
        self, *apps: AppOrder, as_of: int = 100, registration: int = 50, **more: object
    ) -> i.OrdersRead:
        """Orders with our claim unless `more` says otherwise."""
        fields = {"claim": self.claim, "topic_id": LOG, **more}
        return i.OrdersRead(
            NodeOrders(reporter=NODE, registration=registration, as_of=as_of, apps=list(apps), **fields)  # type: ignore[arg-type]
        )

    def pool_orders(
        self, *nodes: NodeOrder, as_of: int = 100, registration: int = 50, **more: object
    ) -> i.OrdersRead:
        """Orders of the pool with our claim unless `more` says otherwise."""
        fields = {"claim": self.claim, "topic_id": LOG, **more}
        return i.OrdersRead(
            PoolOrders(reporter=POOL, registration=registration, as_of=as_of, nodes=list(nodes), **fields)  # type: ignore[arg-type]
        )

    def register(self, *apps: AppOrder, as_of: int = 100) -> list[i.Instruction]:
        """Be registered with these orders, all read."""
        if self.identity.kind == "pool":
            return self.give(self.pool_orders(as_of=as_of), i.CaughtUp())
        return self.give(self.node_orders(*apps, as_of=as_of), i.CaughtUp())

    def run(self, app: AppOrder, *, as_of: int = 100) -> None:
        """Be registered, with this app spawned and beating."""
        self.register(app, as_of=as_of)
        self.give(i.Spawned(app.app, app.generation, 4_711), i.Beaten(app.app, app.generation))
        self.wait(100)

    def entry(self, app: str) -> AppEntry | None:
        """The app in a report made now."""
        report = self.last_report()
        assert isinstance(report, Report)
        return next((entry for entry in report.apps if entry.app == app), None)

    def node_entry(self, order: int) -> NodeEntry | None:
        """The node of an order in the last report."""
        report = self.last_report()
        assert isinstance(report, PoolReport)
        return next((entry for entry in report.nodes if entry.order == order), None)

    def last_report(self) -> Report | PoolReport:
        """The report sent last, which is full."""
        said = next(
            it.record
            for _, it in reversed(self.history)
            if isinstance(it, i.Send) and not isinstance(it.record, Hello)
        )
        assert not isinstance(said, Unchanged)
        return said


def app(name: str = "application-a", generation: int = 90, **more: object) -> AppOrder:
    """An app order."""
    return AppOrder(name, generation, ["true"], **more)  # type: ignore[arg-type]


def of_kind(out: list[i.Instruction], kind: type[T]) -> list[T]:
    """The instructions of one kind."""
    return [it for it in out if isinstance(it, kind)]


def reports(out: list[i.Instruction]) -> list[Report]:
    """The reports of a node among them."""
    return [it.record for it in of_kind(out, i.Send) if isinstance(it.record, Report)]


def pool_reports(out: list[i.Instruction]) -> list[PoolReport]:
    """The reports of a pool among them."""
    return [it.record for it in of_kind(out, i.Send) if isinstance(it.record, PoolReport)]


def hellos(out: list[i.Instruction]) -> list[Hello]:
    """The hellos among them."""
    return [it.record for it in of_kind(out, i.Send) if isinstance(it.record, Hello)]
