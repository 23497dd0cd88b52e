"""For a deployer, a program that asks for nodes and runs apps on them.

    with Deployer() as deployer:
        grant = deployer.request_node()
        deployer.run_app(AppSpec("application-pump", ["python3", "pump.py"]), grant=grant)

1. What is asked for is a record on Kafka; its answer is on the log. A request that nobody answers in time stands, and
   is answered as soon as a worker runs.
2. A node that is granted keeps the room for as long as the policy's `grant_within_ms` says; `run_app` uses it. Two
   callers never get the same room, nor does anything else.
3. What is read is what the platform has published; with every worker down that is the last it published.
4. A deployer belongs to one thread. The functions at the end make one for each call.
"""

import os
import time
import uuid
from collections.abc import Callable
from typing import Any, Self, TypeVar

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from sdk.contract.codec import Recorded, encode_request
from sdk.contract.events import GrantExpired, GrantRefused, RequestRefused
from sdk.contract.ids import split_node_id
from sdk.contract.requests import DrainNode, Request, RequestNode, RunApp, ShutdownNode, StopApp
from sdk.contract.specs import AppSpec
from sdk.contract.topics import Topics
from sdk.errors import DeployerError, KafkaAwayError, NotAnsweredError, NotDoneError, RefusedError
from sdk.published import NodeRow, Published, Reader
from sdk.reading_kafka import ASK_WITHIN_MS

#: How long an answer may take, s: a change of leader on a foreign broker (9 s) and some.
ANSWER_WITHIN_S = 15.0
#: How long a new node may take, s: the policy's 60 s to register and a try after it.
NODE_WITHIN_S = 120.0
#: How long an app may take to its first beat, s: its 30 s and room for one more copy.
APP_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0

T = TypeVar("T")

__all__ = [
    "App",
    "AppSpec",
    "Deployer",
    "DeployerError",
    "Grant",
    "KafkaAwayError",
    "Needs",
    "Node",
    "NotAnsweredError",
    "NotDoneError",
    "RefusedError",
    "create_new_node",
    "get_list_of_active_node",
]


class Needs(msgspec.Struct, frozen=True):
    """What must be free on a node."""

    slots: int = 1
    #: Hundredths of a core, and MiB.
    cpu_percent: int = 0
    memory_mib: int = 0


class Node(msgspec.Struct, frozen=True):
    """A node that is there."""

    node: str
    ip: str
    port: int
    #: active, or why it takes no apps: draining, silent, quarantined, cordoned or spare.
    status: str
    slots: int
    slots_free: int
    apps: list[str]


class Grant(msgspec.Struct, frozen=True):
    """Room on a node that is kept for whoever asked."""

    #: The number under which it stands on the log.
    grant: int
    node: str
    ip: str
    port: int


class App(msgspec.Struct, frozen=True):
    """A copy of an app that runs."""

    app: str
    node: str
    generation: int


class Deployer:
    """A connection to the platform; use it in a `with`, or close it."""

    def __init__(self, bootstrap: str | None = None, prefix: str | None = None) -> None:
        """Connect to the Kafka that is given, or that the environment names as for `heart_beat()`.

        Raises:
            KafkaAwayError: no Kafka answers, or it has no such platform.
        """
        self._bootstrap = bootstrap or os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:9092"
        self._topics = Topics(prefix or os.environ.get("WATCHKEEP_PREFIX") or "watchkeep")
        self._reader = Reader(self._bootstrap, self._topics.prefix)
        self._producer: Any = None

    def __enter__(self) -> Self:
        """The deployer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Disconnect; room that was granted and not used stays kept until its time is over."""
        self._reader.close()
        if self._producer is not None:
            self._producer.close(timeout=ASK_WITHIN_MS / 1000)

    # --- reading ------------------------------------------------------------------------------------

    def list_nodes(self) -> list[Node]:
        """The nodes that are there, by address."""
        rows = self._reader.refresh()
        nodes = [
            Node(
                node=row.node,
                ip=row.ip,
                port=row.port,
                status=_status_of(row),
                slots=row.slots,
                slots_free=rows.free_slots(row),
                apps=[app.app for app in rows.apps_on(row)],
            )
            for row in rows.nodes.values()
            if row.status == "active"
        ]
        return sorted(nodes, key=lambda node: (node.ip, node.port))

    def get_list_of_active_node(self) -> str:
        """The active nodes as `<ip> <port>`, by address, with colons between them."""
        return ":".join(f"{node.ip} {node.port}" for node in self.list_nodes() if node.status == "active")

    # --- asking -------------------------------------------------------------------------------------

    def create_new_node(self, *, timeout_s: float = NODE_WITHIN_S) -> str:
        """Create a node, wait until it is active and return it as `<ip> <port>`.

        Raises:
            DeployerError: it was refused, not answered or not done in time; the classes say which.
        """
        grant = self._request(RequestNode(new=True), timeout_s=timeout_s)
        return f"{grant.ip} {grant.port}"

    def request_node(
        self, needs: Needs | None = None, *, pool: str = "", timeout_s: float = NODE_WITHIN_S
    ) -> Grant:
        """Room on a node for whoever calls: on a free node if one fits, else on a new one, of any pool or of one.

        Raises:
            DeployerError: it was refused, not answered or not done in time; the classes say which.
        """
        wanted = needs or Needs()
        wish = RequestNode(pool, wanted.slots, cpu_percent=wanted.cpu_percent, memory_mib=wanted.memory_mib)
        return self._request(wish, timeout_s=timeout_s)

    def run_app(self, spec: AppSpec, *, grant: Grant | None = None, timeout_s: float = APP_WITHIN_S) -> App:
        """Run an app, with a grant on the node that was granted, and return the copy that beats.

        An app that runs already gets the new spec from its next copy on.

        Raises:
            DeployerError: it was refused, not answered or does not beat in time; the classes say which.
        """
        answer = self._ask(RunApp(spec, grant.grant if grant else 0), timeout_s=timeout_s)

        def running() -> App | None:
            row = self._rows.apps.get(spec.app)
            if row is not None and row.gave_up:
                raise NotDoneError(f"{spec.app} failed again and again and was given up.")
            if row is None or row.phase != "running" or row.silent:
                return None
            return App(row.app, row.node, row.generation)

        found = self._await(running, after=answer, within_s=timeout_s)
        if found is None:
            row = self._rows.apps.get(spec.app)
            why = f" ({row.pending_reason})" if row is not None and row.pending_reason else ""
            raise NotDoneError(f"{spec.app} does not beat after {timeout_s:g} s{why}; the wish stands.")
        return found

    def stop_app(self, app: str, *, timeout_s: float = STOP_WITHIN_S) -> None:
        """Stop an app for good and wait until it has.

        Raises:
            DeployerError: it was refused, not answered or not done in time; the classes say which.
        """
        answer = self._ask(StopApp(app), timeout_s=timeout_s)
        if not self._await(lambda: _has_stopped(self._rows, app) or None, after=answer, within_s=timeout_s):
            raise NotDoneError(f"{app} has not stopped after {timeout_s:g} s; the wish stands.")

    def drain_node(self, node: str, *, timeout_s: float = APP_WITHIN_S) -> None:
        """Keep new apps off a node, move its apps elsewhere, each ready there first, and wait until it is empty.

        The node stays; `python cli.py nodes uncordon` gives it apps again.

        Raises:
            DeployerError: it was refused, not answered or not done in time; the classes say which.
        """
        answer = self._ask(DrainNode(node), timeout_s=timeout_s)
        if not self._await(lambda: _is_empty(self._rows, node) or None, after=answer, within_s=timeout_s):
            raise NotDoneError(f"{node} is not empty after {timeout_s:g} s; the wish stands.")

    def shutdown_node(self, node: str, *, timeout_s: float = APP_WITHIN_S) -> None:
        """Move the apps of a node elsewhere, take it away for good and wait until it is gone.

        Raises:
            DeployerError: it was refused, not answered or not done in time; the classes say which.
        """
        answer = self._ask(ShutdownNode(node), timeout_s=timeout_s)
        if not self._await(lambda: _is_gone(self._rows, node) or None, after=answer, within_s=timeout_s):
            raise NotDoneError(f"{node} is still there after {timeout_s:g} s; the wish stands.")

    # --- the way there and back ---------------------------------------------------------------------

    @property
    def _rows(self) -> Published:
        return self._reader.rows

    def _request(self, request: RequestNode, *, timeout_s: float) -> Grant:
        deadline_s = time.monotonic() + timeout_s
        number = self._ask(request, timeout_s=timeout_s)
        #: Why the grant is over, and the offset at which the log says so.
        ends: list[tuple[int, str]] = []

        def hear(offset: int, said: Recorded) -> None:
            match said.event:
                case GrantRefused(grant=grant, reason=reason) if grant == number:
                    ends.append((offset, reason))
                case GrantExpired(grant=grant) if grant == number:
                    ends.append((offset, "it expired before it was read"))

        def granted() -> Grant | None:
            row = self._rows.grants.get(str(number))
            if row is not None and row.node:
                return Grant(number, row.node, *split_node_id(row.node))
            if row is None and ends and self._rows.progress >= ends[-1][0]:
                raise RefusedError(f"Refused: {ends[-1][1]}.")
            return None

        found = self._reader.follow(granted, hear, within_s=deadline_s - time.monotonic())
        if found is None:
            raise NotDoneError(f"No node became active within {timeout_s:g} s; the wish stands.")
        return found

    def _ask(self, request: Request, *, timeout_s: float) -> int:
        """Send a request; the offset of the event that admitted it."""
        request_id = str(uuid.uuid4())
        answers: list[tuple[int, Recorded]] = []

        def hear(offset: int, said: Recorded) -> None:
            if said.cause == request_id:
                answers.append((offset, said))

        self._reader.skip_log()
        self._send(request, request_id)
        within_s = min(timeout_s, ANSWER_WITHIN_S)
        answer = self._reader.follow(lambda: answers[0] if answers else None, hear, within_s=within_s)
        if answer is None:
            raise NotAnsweredError(
                f"Nobody answered within {within_s:g} s; the request stands and is answered as soon as a worker runs."
            )
        offset, said = answer
        if isinstance(said.event, RequestRefused):
            raise RefusedError(f"Refused: {said.event.reason}.")
        return offset

    def _await(self, done: Callable[[], T | None], *, after: int, within_s: float) -> T | None:
        """Wait for something of the rows, which first must include the event at `after`."""
        return self._reader.follow(
            lambda: done() if self._rows.progress >= after else None, lambda *_: None, within_s=within_s
        )

    def _send(self, request: Request, request_id: str) -> None:
        if self._producer is None:
            self._producer = KafkaProducer(
                bootstrap_servers=self._bootstrap.split(","),
                client_id="watchkeep-deployer",
                api_version=(2, 6),
                acks="all",
                enable_idempotence=False,
                max_block_ms=ASK_WITHIN_MS,
                request_timeout_ms=ASK_WITHIN_MS,
                delivery_timeout_ms=ASK_WITHIN_MS,
            )
        value = encode_request(
            request, request_id=request_id, asker="deployer", at_ms=time.time_ns() // 1_000_000
        )
        try:
            self._producer.send(self._topics.requests, key=request_id.encode(), value=value, partition=0).get(
                timeout=ASK_WITHIN_MS / 1000 + 1
            )
        except KafkaError:
            raise KafkaAwayError(f"The Kafka at {self._bootstrap} did not take the request.") from None


def _has_stopped(rows: Published, app: str) -> bool:
    row = rows.apps.get(app)
    return row is not None and row.phase == "stopped"


def _is_empty(rows: Published, node: str) -> bool:
    row = rows.nodes.get(node)
    return row is not None and not rows.apps_on(row)


def _status_of(row: NodeRow) -> str:
    words = ("draining", "silent", "quarantined", "cordoned", "spare")
    return next((word for word in words if getattr(row, word)), "active")


def _is_gone(rows: Published, node: str) -> bool:
    row = rows.nodes.get(node)
    return row is not None and row.status != "active"


def get_list_of_active_node() -> str:
    """The active nodes, such as `127.0.0.1 8082:127.0.0.1 8085:127.0.0.1 8086`."""
    with Deployer() as deployer:
        return deployer.get_list_of_active_node()


def create_new_node() -> str:
    """Create a node, wait until it is active and return it, such as `127.0.0.1 8089`."""
    with Deployer() as deployer:
        return deployer.create_new_node()
