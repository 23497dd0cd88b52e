"""The platform as it is published: the rows of the state topics and what the log says next, read with kafka-python.

1. Nothing is folded here: rows of the view are what the platform made of its log. They are read up to the end of the
   log as long as a worker publishes; with every worker down they are what was published last.
2. The log is read only for the answer to a request of one's own. What an answer came to is read from the view, because
   not every decision on the log counts.
3. One reader belongs to one thread.
"""

import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec
from kafka import TopicPartition
from kafka.errors import KafkaError

from sdk.contract.codec import DecodeError, Recorded, decode_event
from sdk.contract.specs import AppSpec
from sdk.contract.topics import Topics
from sdk.errors import KafkaAwayError
from sdk.reading_kafka import ASK_WITHIN_MS, open_consumer

#: How long the view may take to reach the end of the log: five times its progress is written.
VIEW_WITHIN_S = 1.0
#: One poll of the broker; it answers at once when there is something.
_POLL_MS = 100

_TABLES = ("nodes", "apps", "platform")
_PROGRESS = "progress"


class NodeRow(msgspec.Struct, frozen=True):
    """A node as it is published, as far as a deployer needs it."""

    node: str
    pool: str
    ip: str
    port: int
    slots: int
    #: Offset of the order that made it: older nodes have lower ones.
    order: int
    lineage: int
    status: Literal["active", "down", "left"]
    silent: bool = False
    draining: bool = False
    cordoned: bool = False
    quarantined: bool = False
    spare: bool = False


class Standby(msgspec.Struct, frozen=True):
    """A copy that is made ready on another node."""

    node: str
    lineage: int
    spec: AppSpec


class AppRow(msgspec.Struct, frozen=True):
    """An app as it is published."""

    app: str
    spec: AppSpec
    wanted: bool
    phase: Literal["pending", "placed", "running", "condemned", "ended", "finished", "stopped"]
    generation: int = 0
    node: str = ""
    lineage: int = 0
    placed_spec: AppSpec | None = None
    standby: Standby | None = None
    silent: bool = False
    gave_up: bool = False
    pending_reason: str = ""


class GrantRow(msgspec.Struct, frozen=True):
    """A grant as it is published; `node` is empty while it is waited for."""

    grant: int
    slots: int
    node: str = ""
    lineage: int = 0


class _ViewRow(msgspec.Struct):
    as_of: int
    table: str
    row: msgspec.Raw = msgspec.Raw()


Row = NodeRow | AppRow | GrantRow
_KINDS: dict[str, Any] = {"nodes": NodeRow, "apps": AppRow, "grants": GrantRow}
T = TypeVar("T")


class Published:
    """Rows by table and key, as of `progress`; pure."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeRow] = {}
        self.apps: dict[str, AppRow] = {}
        self.grants: dict[str, GrantRow] = {}
        #: Every row is at least as new as this offset of the log; -1 before the first.
        self.progress = -1

    def apply(self, table: str, key: bytes | None, value: bytes | None) -> None:
        """Take one record of a state topic; what is no row of interest is passed over."""
        name = (key or b"").decode(errors="replace")
        if table == "platform":
            table, _, name = name.partition("/")
        if table not in ("nodes", "apps", "grants", _PROGRESS):
            return
        rows: dict[str, Any] = getattr(self, table) if table != _PROGRESS else {}
        if value is None:
            rows.pop(name, None)
            return
        try:
            view = msgspec.json.decode(value, type=_ViewRow)
            if table == _PROGRESS:
                self.progress = view.as_of
            else:
                rows[name] = msgspec.json.decode(view.row, type=_KINDS[table])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # Whoever wrote it has it repaired by the owner of the view; the row before it stands until then.
            return

    def apps_on(self, node: NodeRow) -> list[AppRow]:
        """The apps that take room on a node, by name."""
        found = (app for app in self.apps.values() if app.node == node.node and app.lineage == node.lineage)
        return sorted((app for app in found if app.phase in ("placed", "running", "condemned")), key=_name)

    def standbys_on(self, node: NodeRow) -> list[Standby]:
        """Copies that are made ready on a node."""
        found = (app.standby for app in self.apps.values() if app.standby is not None)
        return [each for each in found if (each.node, each.lineage) == (node.node, node.lineage)]

    def free_slots(self, node: NodeRow) -> int:
        """Slots of a node that no app, no copy in the making and no grant takes."""
        taken = sum((app.placed_spec or app.spec).slots for app in self.apps_on(node))
        taken += sum(each.spec.slots for each in self.standbys_on(node))
        kept = (grant for grant in self.grants.values() if grant.node == node.node)
        return node.slots - taken - sum(grant.slots for grant in kept if grant.lineage == node.lineage)


def _name(app: AppRow) -> str:
    return app.app


class Reader:
    """A connection that follows the state topics and, while somebody waits for an answer, the log."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        """Connect.

        Raises:
            KafkaAwayError: no Kafka answers, or it has no such platform.
        """
        self.rows = Published()
        self._where = f"No Kafka with the topics of `{prefix}` answers at {bootstrap}."
        topics = Topics(prefix)
        self._log = TopicPartition(topics.events, 0)
        self._tables = {TopicPartition(topics.state(table), 0): table for table in _TABLES}
        try:
            self._consumer: Any = open_consumer(
                bootstrap, client_id="watchkeep-deployer", fetch_wait_ms=_POLL_MS
            )
        except (KafkaError, ValueError) as error:
            raise KafkaAwayError(f"{self._where} ({error})") from None
        self._consumer.assign([self._log, *self._tables])
        try:
            ends = self._ends()
        except KafkaAwayError:
            self.close()
            raise
        self._consumer.seek(self._log, ends[self._log])
        for partition in self._tables:
            self._consumer.seek(partition, 0)

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def _ends(self) -> dict[TopicPartition, int]:
        try:
            ends: dict[TopicPartition, int] = self._consumer.end_offsets(
                [self._log, *self._tables], timeout_ms=ASK_WITHIN_MS
            )
        except KafkaError:
            raise KafkaAwayError(self._where) from None
        return ends

    def skip_log(self) -> None:
        """Go to the end of the log: what comes from here on is what `follow` tells."""
        self._consumer.seek(self._log, self._ends()[self._log])

    def refresh(self) -> Published:
        """The rows as of the end of the log, or as they were published last if nobody publishes."""
        end = self._ends()[self._log]
        self.follow(lambda: self.rows.progress >= end - 1 or None, lambda *_: None, within_s=VIEW_WITHIN_S)
        ends = self._ends()
        self.follow(
            lambda: all(self._consumer.position(each) >= ends[each] for each in self._tables) or None,
            lambda *_: None,
            within_s=ASK_WITHIN_MS / 1000,
        )
        return self.rows

    def follow(
        self, done: Callable[[], T | None], hear: Callable[[int, Recorded], None], *, within_s: float
    ) -> T | None:
        """Read on, telling `hear` each event with its offset, until `done` answers; None if that takes too long."""
        deadline_s = time.monotonic() + within_s
        while (answer := done()) is None and (left_s := deadline_s - time.monotonic()) > 0:
            batches = self._consumer.poll(timeout_ms=max(1, min(_POLL_MS, int(left_s * 1000))))
            for partition, records in batches.items():
                for record in records:
                    if partition in self._tables:
                        self.rows.apply(self._tables[partition], record.key, record.value)
                    else:
                        _tell(hear, record)
        return answer


def _tell(hear: Callable[[int, Recorded], None], record: Any) -> None:
    try:
        hear(record.offset, decode_event(record.value))
    except DecodeError:
        return
