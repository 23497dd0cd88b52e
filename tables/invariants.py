"""What always holds of a state; the twin of the rules in the fold. Pure; used by tests, `verify` and the simulator."""

from collections import Counter
from collections.abc import Iterable, Iterator

from sdk.contract.policy import check_policy
from sdk.contract.specs import needed_services
from tables.commands import command_in_force
from tables.device_rows import CommandRow, DeviceRow
from tables.fold_apps import TRANSITIONS
from tables.fold_devices import silence_limit
from tables.questions import taken_on
from tables.room import NOTHING, Need, capacity_of, need_of, need_of_grant, placed_spec_of
from tables.rows import AppRow, GrantRow, NodeRow, OrderRow
from tables.state import Key, State, holds_slot, is_at_rest, is_hosted, is_order_open, nodes_of
from tables.tally import stays


def check_invariants(state: State, touched: Iterable[Key] | None = None) -> list[str]:
    """Every sentence that does not hold, for people; empty if all is well.

    With `touched`, the rows that changed since all was well, only they and what hangs on them are looked at.
    """
    if touched is None:
        keys = {(table, key) for table, key, _ in state.all_rows()}
        return [*_check(state, keys), *_ports(state), *_room(state), *_tally(state), *_rest(state)]
    keys = _widened(state, touched)
    room = _room(state) if any(table == "apps" for table, _ in keys) else ()
    tally = _tally(state) if any(table in ("nodes", "orders") for table, _ in keys) else ()
    return [*_check(state, keys), *room, *tally, *_rest(state)]


def _widened(state: State, touched: Iterable[Key]) -> set[Key]:
    """The rows and those that a sentence about one of them may be about."""
    keys = set(touched)
    for table, key in list(keys):
        if table == "orders" and (node := state.node_of_order.get(int(key))) is not None:
            keys.add(("nodes", node))
        elif table == "grants" and key in state.grants and state.grants[key].node:
            keys.add(("nodes", state.grants[key].node))
        elif table == "apps":
            keys.update(("nodes", node) for node in nodes_of(state.apps[key]))
        elif table == "nodes" and key in state.nodes:
            keys.add(("orders", str(state.nodes[key].order)))
    for table, key in list(keys):
        if table == "nodes":
            keys.update(("apps", app) for app in state.apps_of_node.get(key, ()))
    return keys


def _check(state: State, keys: Iterable[Key]) -> Iterator[str]:
    for table, key in keys:
        row = state.tables[table].get(key)
        match row:
            case NodeRow():
                yield from _node(state, key, row)
            case AppRow():
                yield from _app(state, key, row)
            case OrderRow():
                yield from _order(state, key, row)
            case GrantRow():
                yield from _grant(state, key, row)
            case CommandRow():
                yield from _command(state, key, row)
            case DeviceRow():
                yield from _device(state, key, row)
        wake = getattr(row, "wake", None)
        if (wake is not None and not wake.fired) != ((table, key) in state.waking):
            yield f"{table} {key}: the index of wakes is wrong"


def _node(state: State, key: str, node: NodeRow) -> Iterator[str]:
    if node.node != key:
        yield f"node {key}: the row names {node.node}"
    if str(node.order) not in state.orders:
        yield f"node {key}: no order {node.order}"
    if not node.lineage <= node.registration <= state.offset:
        yield f"node {key}: lineage {node.lineage}, registration {node.registration}"
    if node.status == "active" and not taken_on(state, key).fits(capacity_of(node)):
        yield f"node {key}: {taken_on(state, key)} of {capacity_of(node)} taken"
    if node.spare and node.status == "active" and taken_on(state, key) != NOTHING:
        yield f"node {key}: it stands by, and {taken_on(state, key)} taken"
    if (node.status == "active") != (key in state.live_nodes.get(node.pool, ())):
        yield f"node {key}: the index of living nodes is wrong"


def _ports(state: State) -> Iterator[str]:
    ports = [(node.ip, node.port) for node in state.nodes.values()]
    if len(set(ports)) != len(ports):
        yield "two nodes have one ip and port"


def _app(state: State, key: str, app: AppRow) -> Iterator[str]:
    if app.phase not in TRANSITIONS:
        yield f"app {key}: unknown phase {app.phase}"
    if app.generation > state.offset:
        yield f"app {key}: generation {app.generation} lies ahead of the log"
    if holds_slot(app) and app.node not in state.nodes:
        yield f"app {key}: placed on unknown node {app.node}"
    for node in nodes_of(app):
        if key not in state.apps_of_node.get(node, ()):
            yield f"app {key}: missing in the index of {node}"
    if app.standby is not None and (app.phase != "running" or app.standby.node == app.node):
        yield f"app {key}: a copy is made ready on {app.standby.node} while it is {app.phase}"
    if app.silent and app.phase not in ("running", "condemned"):
        yield f"app {key}: silent while {app.phase}"
    if app.gave_up and holds_slot(app) and is_hosted(state, app):
        yield f"app {key}: given up and running"
    yield from _app_indexed(state, key, app)


def _app_indexed(state: State, key: str, app: AppRow) -> Iterator[str]:
    if (key in state.open_apps) == is_at_rest(state, app):
        yield f"app {key}: the index of open apps is wrong"
    if any(key not in state.dependants.get(service, ()) for service in needed_services(app.spec)):
        yield f"app {key}: missing in the index of who needs what"


def _tally(state: State) -> list[str]:
    """Nodes that come and that stay, counted anew."""
    counts = Counter(
        (row.pool, "coming", row.spare) for row in state.orders.values() if is_order_open(state, row)
    )
    counts.update(
        (row.pool, "staying", row.spare)
        for row in state.nodes.values()
        if row.status == "active" and stays(row)
    )
    return ["the tally of nodes is wrong"] if counts != state.tally.counts else []


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
    for grant in state.grants.values():
        if grant.node:
            home = (grant.node, grant.lineage)
            taken[home] = taken.get(home, NOTHING).plus(need_of_grant(grant))
    broken = ["the index of taken room is wrong"] if taken != state.taken else []
    return [*broken, "the index of groups is wrong"] if copies != state.copies else broken


def _order(state: State, key: str, order: OrderRow) -> Iterator[str]:
    if str(order.order) != key:
        yield f"order {key}: the row names {order.order}"
    if (order.order in state.open_orders) != is_order_open(state, order):
        yield f"order {key}: the index of open orders is wrong"
    if order.spare and (order.taken_at or order.replaces):
        yield f"order {key}: a spare that was taken"
    if order.pool not in state.pools:
        yield f"order {key}: unknown pool {order.pool}"


def _grant(state: State, key: str, grant: GrantRow) -> Iterator[str]:
    if str(grant.grant) != key or grant.grant > state.offset:
        yield f"grant {key}: the row names {grant.grant}"
    if grant.slots < 1:
        yield f"grant {key}: {grant.slots} slots"
    if grant.pool not in state.pools and (grant.pool or grant.node):
        yield f"grant {key}: unknown pool {grant.pool}"
    if grant.node and key not in state.grants_of_node.get(grant.node, ()):
        yield f"grant {key}: missing in the index of {grant.node}"


def _command(state: State, key: str, row: CommandRow) -> Iterator[str]:
    if row.command != key or row.offset > state.offset:
        yield f"command {key}: the row names {row.command} at {row.offset}"
    if state.commands_of.get(row.controller, []).count(key) != 1:
        yield f"command {key}: the index of commands is wrong"
    if row.controller not in state.devices:
        yield f"command {key}: no controller {row.controller}"
    if (row.phase == "desired") != (row.wake is not None and not row.wake.fired):
        yield f"command {key}: {row.phase} with {row.wake}"
    if row.phase == "desired" and command_in_force(state, row.controller) is not row:
        yield f"command {key}: desired, and not the last of {row.controller}"


def _device(state: State, key: str, device: DeviceRow) -> Iterator[str]:
    limit_ms = silence_limit(state, device.device) if device.enabled else 0
    if device.limit_ms != limit_ms or (device.expectation > 0) != (limit_ms > 0):
        yield f"device {key}: it ought to be judged by {limit_ms} ms, and is by {device.limit_ms}"
    if (key in state.judged) != (device.expectation > 0):
        yield f"device {key}: the index of judged sensors is wrong"
    if device.silent and not device.expectation:
        yield f"device {key}: silent, and nobody judges it"


def _rest(state: State) -> list[str]:
    broken = []
    try:
        check_policy(state.policy)
    except ValueError as error:
        broken.append(str(error))
    if state.term.term > state.offset:
        broken.append(f"term {state.term.term} lies ahead of the log")
    return broken
