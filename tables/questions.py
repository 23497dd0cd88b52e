"""Questions about a state whose answer takes several rows: of nodes, of room, of orders, of what may follow. Pure."""

from tables.room import NOTHING, Need, need_of, need_of_grant
from tables.rows import AppRow, GrantRow, NodeRow, OrderRow
from tables.state import State, is_hosted


def is_node_alive(state: State, node: str) -> bool:
    """Whether the node's registration is in force (it may be silent or draining)."""
    row = state.nodes.get(node)
    return row is not None and row.status == "active"


def is_unreliable(state: State, node: NodeRow) -> bool:
    """Whether the node was declared down so often within the window that it ought to take no apps for a while."""
    after, window_ms = state.policy.node_quarantine_after, state.policy.node_failure_window_ms
    last = node.recent_failures[-after:]
    return len(last) == after and last[-1] - last[0] <= window_ms


def has_standby_on(app: AppRow, node: NodeRow) -> bool:
    """Whether a copy is being made ready on the node, in its unbroken lineage."""
    standby = app.standby
    return standby is not None and (standby.node, standby.lineage) == (node.node, node.lineage)


def taken_on(state: State, node: str) -> Need:
    """Room that the apps of the node's lineage take, and what is kept there for who was granted it."""
    return state.taken.get((node, state.nodes[node].lineage), NOTHING)


def used_slots(state: State, node: str) -> int:
    """Slots that the apps of the node's lineage take, and those kept for who was granted them."""
    return taken_on(state, node).slots


def is_kept(state: State, grant: GrantRow) -> bool:
    """Whether the room of a grant still stands: its node serves in the same lineage and may be given apps again."""
    node = state.nodes.get(grant.node)
    if node is None or node.status != "active" or node.lineage != grant.lineage:
        return False
    return not (node.draining or node.cordoned or node.quarantined)


def granted_room(state: State, app: AppRow, node: str) -> Need:
    """Room on the node that is kept for the next copy of the app."""
    if not state.grants:
        return NOTHING
    grant = state.grants.get(str(app.grant))
    if grant is None or grant.node != node or not is_kept(state, grant):
        return NOTHING
    return need_of_grant(grant).at_most(need_of(app.spec))


def is_order_wanted(state: State, order: OrderRow) -> bool:
    """Whether the pool ought to run the node of this order."""
    if order.ended or order.withdrawn:
        return False
    node = state.node_of_order.get(order.order)
    if node is None:
        return True
    row = state.nodes[node]
    return row.status == "active" or (row.status == "down" and not row.destroy)


def is_gone(state: State, node: NodeRow) -> bool:
    """Whether nothing of a dead node can run any more, or waiting for that has lasted long enough.

    A node that was declared down without an attempt to destroy it counts as gone at once: its agent obeys
    orders, and orders and the fold refuse its copies.
    """
    if node.status == "active":
        return False
    order = state.orders.get(str(node.order))
    return not node.destroy or order is None or order.ended or (node.wake is not None and node.wake.fired)


def may_replace(state: State, app: AppRow) -> bool:
    """Whether the generation in force has ended so far that another copy may be placed."""
    match app.phase:
        case "pending":
            return True
        case "ended":
            return app.wake is None or app.wake.fired
        case "condemned" if app.wake is not None and app.wake.fired:
            return True
        case "placed" | "running" | "condemned":
            node = state.nodes.get(app.node)
            return node is None or (
                not is_hosted(state, app) and (node.status == "active" or is_gone(state, node))
            )
        case _:
            return False
