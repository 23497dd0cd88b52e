"""What always holds of a state; the twin of the rules in the fold. Pure; used by tests, `verify` and the simulator."""

from sdk.contract.policy import check_policy
from tables.fold_apps import TRANSITIONS
from tables.room import NOTHING, Need, capacity_of, need_of, placed_spec_of
from tables.state import State, holds_slot, is_at_rest, is_hosted, is_order_open, nodes_of, taken_on


def check_invariants(state: State) -> list[str]:
    """Every sentence that does not hold, for people; empty if all is well."""
    return [*_nodes(state), *_apps(state), *_room(state), *_orders(state), *_wakes(state), *_rest(state)]


def _nodes(state: State) -> list[str]:
    broken = []
    for key, node in state.nodes.items():
        if node.node != key:
            broken.append(f"node {key}: the row names {node.node}")
        if str(node.order) not in state.orders:
            broken.append(f"node {key}: no order {node.order}")
        if not node.lineage <= node.registration <= state.offset:
            broken.append(f"node {key}: lineage {node.lineage}, registration {node.registration}")
        if node.status == "active" and not taken_on(state, key).fits(capacity_of(node)):
            broken.append(f"node {key}: {taken_on(state, key)} of {capacity_of(node)} taken")
    ports = [(node.ip, node.port) for node in state.nodes.values()]
    if len(set(ports)) != len(ports):
        broken.append("two nodes have one ip and port")
    return broken


def _apps(state: State) -> list[str]:
    broken = []
    for key, app in state.apps.items():
        if app.phase not in TRANSITIONS:
            broken.append(f"app {key}: unknown phase {app.phase}")
        if app.generation > state.offset:
            broken.append(f"app {key}: generation {app.generation} lies ahead of the log")
        if holds_slot(app) and app.node not in state.nodes:
            broken.append(f"app {key}: placed on unknown node {app.node}")
        broken += [
            f"app {key}: missing in the index of {node}"
            for node in nodes_of(app)
            if key not in state.apps_of_node.get(node, ())
        ]
        if app.standby is not None and (app.phase != "running" or app.standby.node == app.node):
            broken.append(f"app {key}: a copy is made ready on {app.standby.node} while it is {app.phase}")
        if app.silent and app.phase not in ("running", "condemned"):
            broken.append(f"app {key}: silent while {app.phase}")
        if app.gave_up and holds_slot(app) and is_hosted(state, app):
            broken.append(f"app {key}: given up and running")
        if (key in state.open_apps) == is_at_rest(state, app):
            broken.append(f"app {key}: the index of open apps is wrong")
    return broken


def _room(state: State) -> list[str]:
    """The room that is taken and the copies of groups, counted anew."""
    taken: dict[tuple[str, int], Need] = {}
    copies: dict[str, dict[tuple[str, int], int]] = {}
    held = [((app.node, app.lineage), placed_spec_of(app)) for app in state.apps.values() if holds_slot(app)]
    standbys = [app.standby for app in state.apps.values() if app.standby is not None]
    for home, spec in [*held, *(((each.node, each.lineage), each.spec) for each in standbys)]:
        taken[home] = taken.get(home, NOTHING).plus(need_of(spec))
        if spec.group:
            group = copies.setdefault(spec.group, {})
            group[home] = group.get(home, 0) + 1
    broken = ["the index of taken room is wrong"] if taken != state.taken else []
    return [*broken, "the index of groups is wrong"] if copies != state.copies else broken


def _orders(state: State) -> list[str]:
    broken = []
    for key, order in state.orders.items():
        if str(order.order) != key:
            broken.append(f"order {key}: the row names {order.order}")
        if (order.order in state.open_orders) != is_order_open(state, order):
            broken.append(f"order {key}: the index of open orders is wrong")
        if order.pool not in state.pools:
            broken.append(f"order {key}: unknown pool {order.pool}")
    return broken


def _wakes(state: State) -> list[str]:
    broken = []
    for table, key, row in state.all_rows():
        wake = getattr(row, "wake", None)
        waiting = wake is not None and not wake.fired
        if waiting != ((table, key) in state.waking):
            broken.append(f"{table} {key}: the index of wakes is wrong")
    return broken


def _rest(state: State) -> list[str]:
    broken = []
    try:
        check_policy(state.policy)
    except ValueError as error:
        broken.append(str(error))
    if state.term.term > state.offset:
        broken.append(f"term {state.term.term} lies ahead of the log")
    return broken
