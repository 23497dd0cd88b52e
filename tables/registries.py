"""The two registries of the mission, as views of the state: the Node DB and the Monitoring DB. Pure."""

from typing import Literal

import msgspec

from tables.decide_nodes import replacing_order
from tables.questions import used_slots
from tables.rows import AppRow, NodeRow
from tables.state import State, holds_slot, is_hosted
from tables.views import Monitored, app_status, monitor


class HostedApplication(msgspec.Struct, frozen=True):
    """An application or service on a node."""

    application_id: str
    status: str
    #: Sensors that are bound to it.
    sensor_ids: list[str]


class NodeEntry(msgspec.Struct, frozen=True):
    """A node in the Node DB."""

    node_id: str
    #: active: it serves and something runs on it; free: it serves and nothing does; down: it does not answer.
    status: Literal["active", "free", "down"]
    #: occupied: it has no slot to give, either because apps have them all or because it is a spare.
    occupancy: Literal["occupied", "unoccupied"]
    #: platform: it runs a service; application: it does not.
    type_of_service: Literal["platform", "application"]
    applications: list[HostedApplication]


class NodeDB(msgspec.Struct, frozen=True):
    """The nodes there are, and those that went down and have no successor yet."""

    number_of_nodes: int
    unoccupied_node_ids: list[str]
    nodes: list[NodeEntry]


class NodeHealth(msgspec.Struct, frozen=True):
    """A node in the Monitoring DB."""

    node_id: str
    #: 1 while it is alive as far as the log knows.
    status: int
    failure_count: int


class ApplicationHealth(msgspec.Struct, frozen=True):
    """An application or service in the Monitoring DB; workers and provisioners are services too."""

    application_id: str
    status: int
    failure_count: int


class MonitoringDB(msgspec.Struct, frozen=True):
    """Who lives and how often it failed: the nodes of the Node DB, and every application and service that is known."""

    nodes: list[NodeHealth]
    applications: list[ApplicationHealth]


def node_db(state: State) -> NodeDB:
    """The Node DB as of `state.offset`, oldest node first."""
    nodes = [_node_entry(state, row) for row in _nodes(state)]
    free = [node.node_id for node in nodes if node.status != "down" and node.occupancy == "unoccupied"]
    return NodeDB(len(nodes), free, nodes)


def monitoring_db(state: State) -> MonitoringDB:
    """The Monitoring DB as of `state.offset`."""
    nodes = [NodeHealth(row.node, _alive(state, row.node), row.failures) for row in _nodes(state)]
    apps = [
        ApplicationHealth(row.app, _alive(state, row.app), row.failures)
        for _, row in sorted(state.apps.items())
    ]
    watched = [ApplicationHealth(it.source, it.status, it.failure_count) for it in watched_services(state)]
    return MonitoringDB(nodes, apps + watched)


def watched_services(state: State) -> list[Monitored]:
    """What nobody here runs: programs that beat by themselves, as workers do, and provisioners by their pools."""
    pools = [pool for pool, row in sorted(state.pools.items()) if row.registration]
    found = (monitor(state, source) for source in [*sorted(state.sources), *pools])
    return [it for it in found if it is not None]


def _alive(state: State, source: str) -> int:
    monitored = monitor(state, source)
    return 0 if monitored is None else monitored.status


def _nodes(state: State) -> list[NodeRow]:
    rows = sorted(state.nodes.values(), key=lambda row: row.order)
    return [row for row in rows if row.status == "active" or _is_missed(state, row)]


def _is_missed(state: State, row: NodeRow) -> bool:
    """Whether a dead node has no successor that serves, yet. Nobody misses a spare."""
    if row.status != "down" or row.spare:
        return False
    order = replacing_order(state, row.node, row.lineage)
    return order is None or state.node_of_order.get(order) is None


def _node_entry(state: State, row: NodeRow) -> NodeEntry:
    hosted = sorted(
        (state.apps[app] for app in state.apps_of_node.get(row.node, ())), key=lambda app: app.app
    )
    apps = [app for app in hosted if _is_there(state, row, app)]
    serves = row.status == "active"
    full = serves and (row.spare or used_slots(state, row.node) >= row.slots)
    status: Literal["active", "free", "down"] = "active" if apps else "free"
    return NodeEntry(
        node_id=row.node,
        status=status if serves and not row.silent else "down",
        occupancy="occupied" if full else "unoccupied",
        type_of_service="platform" if any(app.app.startswith("service-") for app in apps) else "application",
        applications=[
            HostedApplication(app.app, app_status(state, app), sensors_of(state, app.app)) for app in apps
        ],
    )


def sensors_of(state: State, app: str) -> list[str]:
    """The sensors that an app has, in the order of their indexes."""
    row = state.bindings.get(app)
    return [] if row is None else list(row.sensors.values())


def _is_there(state: State, node: NodeRow, app: AppRow) -> bool:
    """Whether a copy of the app takes room on the node, or did when the node died."""
    return holds_slot(app) and (is_hosted(state, app) or node.status != "active")
