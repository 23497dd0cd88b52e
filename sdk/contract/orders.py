"""Orders: what a node or a pool ought to run, one compacted record each, written by the leader. Pure.

Rules for whoever obeys (DESIGN 9):
1. Only records with one's own claim, and an `as_of` not lower than the last obeyed.
2. What is absent is stopped, but nothing whose epoch is newer than `as_of`.
3. `ended`: this registration is over; stop everything and ask for a new one.
"""

from typing import Literal

import msgspec

from sdk.contract.running import Heartbeat, HttpCheck
from sdk.contract.specs import DockerSpec
from sdk.contract.whole import Whole


class AppOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """One app that a node ought to run."""

    app: str
    generation: Whole
    command: list[str]
    env: dict[str, str] = {}
    driver: str = "process"
    #: Time between the polite stop and the kill.
    stop_grace_ms: Whole = 5_000
    #: What the agent does when no report was acknowledged for 8 s, or 80 % of the silence limit if that is less.
    on_isolation: Literal["keep", "stop"] = "keep"
    #: The copy is condemned: kill it without grace.
    kill: bool = False
    #: Variable -> name of a secret.
    secrets: dict[str, str] = {}
    #: Path in the working directory -> content.
    files: dict[str, str] = {}
    #: For the driver `docker`.
    docker: DockerSpec | None = None
    #: Topic whose records are its beats; empty: it beats to its agent.
    beats: str = ""
    #: Whose word is its beat; see `sdk.contract.specs.AppSpec` for these.
    heartbeat: Heartbeat = "sdk"
    http: HttpCheck | None = None
    readiness: HttpCheck | None = None
    cpu_limit_percent: Whole = 0
    memory_limit_mib: Whole = 0


class NodeOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node that a pool ought to run."""

    #: Offset of the `NodeOrdered`.
    order: Whole
    slots: Whole
    #: Lowest port the node may take: every port the log knows lies below.
    port_floor: Whole


class NodeOrders(msgspec.Struct, frozen=True, omit_defaults=True):
    """The orders of one node."""

    reporter: str
    claim: str
    registration: Whole
    #: Kafka's id of the events topic: another id is another log.
    topic_id: str
    as_of: Whole
    apps: list[AppOrder] = []
    ended: bool = False
    #: Age of a beat at which the agent reports at once, from the policy in force.
    silence_limit_ms: Whole = 10_000


class PoolOrders(msgspec.Struct, frozen=True, omit_defaults=True):
    """The orders of one pool."""

    reporter: str
    claim: str
    registration: Whole
    topic_id: str
    as_of: Whole
    nodes: list[NodeOrder] = []
    ended: bool = False


Orders = NodeOrders | PoolOrders
