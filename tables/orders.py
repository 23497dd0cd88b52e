"""Orders as the fold sees them: what each node and pool ought to run. Pure."""

from sdk.contract.orders import AppOrder, NodeOrder, NodeOrders, Orders, PoolOrders
from sdk.contract.specs import AppSpec
from tables.questions import has_standby_on, is_order_wanted
from tables.room import placed_spec_of
from tables.rows import AppRow, NodeRow
from tables.state import State, holds_slot, nodes_of


def orders_for(state: State, reporter: str, *, topic_id: str) -> Orders | None:
    """The orders of a node or pool as of `state.offset`; None for who never registered."""
    if reporter.startswith("pool-"):
        return _pool_orders(state, reporter, topic_id)
    row = state.nodes.get(reporter)
    return None if row is None else _node_orders(state, row, topic_id)


def newest_unnamed(state: State, reporter: str) -> int:
    """The newest generation that a node would have and its orders do not name, 0 if there is none.

    Only a report that was computed from orders as new as that says that it does not run; orders that were written
    before it was placed do not, even if they read the same: it may have been stopped before any named it.
    """
    row = state.nodes.get(reporter)
    if row is None or row.status != "active":
        return 0
    unnamed = 0
    for key in state.apps_of_node.get(reporter, ()):
        app = state.apps[key]
        named = _generation_on(row, app)
        if app.lineage == row.lineage and holds_slot(app) and named != app.generation:
            unnamed = max(unnamed, app.generation)
        if app.standby is not None and has_standby_on(app, row) and named is None:
            unnamed = max(unnamed, app.standby.generation)
    return unnamed


def _node_orders(state: State, row: NodeRow, topic_id: str) -> NodeOrders:
    apps = sorted(state.apps_of_node.get(row.node, ())) if row.status == "active" else []
    return NodeOrders(
        reporter=row.node,
        claim=row.claim,
        registration=row.registration,
        topic_id=topic_id,
        as_of=state.offset,
        ended=row.status != "active",
        silence_limit_ms=state.policy.silence_limit_ms,
        apps=[order for app in apps if (order := _app_order(state, row, state.apps[app])) is not None],
    )


def _generation_on(node: NodeRow, app: AppRow) -> int | None:
    """Which copy of an app the node ought to run: the one in force, or the one that is made ready there."""
    if not app.wanted or app.restarting or node.draining or node.forced:
        return None
    if app.standby is not None and has_standby_on(app, node):
        return app.standby.generation
    return app.generation if app.lineage == node.lineage and holds_slot(app) else None


def _app_order(state: State, node: NodeRow, app: AppRow) -> AppOrder | None:
    """What the node ought to run of an app; made once for each row, it is asked for whenever a neighbour changes."""
    generation = _generation_on(node, app)
    if generation is None:
        return None
    made = state.app_orders.get(app.app)
    if made is not None and made[0] is app and made[1].generation == generation:
        return made[1]
    is_standby = app.standby is not None and generation == app.standby.generation
    spec = app.standby.spec if app.standby is not None and is_standby else placed_spec_of(app)
    order = _copy_order(app, spec, generation)
    state.app_orders[app.app] = app, order
    return order


def _copy_order(app: AppRow, spec: AppSpec, generation: int) -> AppOrder:
    return AppOrder(
        app=app.app,
        generation=generation,
        command=spec.command,
        env=spec.env,
        secrets=spec.secrets,
        files=spec.files,
        driver=spec.driver,
        stop_grace_ms=spec.stop_grace_ms,
        on_isolation=spec.on_isolation,
        kill=app.phase == "condemned",
        docker=spec.docker,
        beats=spec.beats,
        heartbeat=spec.heartbeat,
        http=spec.http,
        readiness=spec.readiness,
        cpu_limit_percent=spec.cpu_limit_percent,
        memory_limit_mib=spec.memory_limit_mib,
    )


def _pool_orders(state: State, pool: str, topic_id: str) -> PoolOrders | None:
    row = state.pools.get(pool)
    if row is None or not row.registration:
        return None
    wanted = (state.orders[str(offset)] for offset in sorted(state.orders_of_pool.get(pool, ())))
    return PoolOrders(
        reporter=pool,
        claim=row.claim,
        registration=row.registration,
        topic_id=topic_id,
        as_of=state.offset,
        nodes=[
            NodeOrder(order=order.order, slots=order.slots, port_floor=order.port_floor)
            for order in wanted
            if is_order_wanted(state, order)
        ],
    )


def reporters_touched(state: State, changed: set[tuple[str, str]]) -> set[str]:
    """Nodes and pools whose orders may differ after these rows changed."""
    touched: set[str] = set()
    for table, key in changed:
        if table == "nodes":
            touched.add(key)
            touched.add(state.nodes[key].pool)
        elif table == "pools":
            touched.add(key)
        elif table == "orders":
            touched.add(state.orders[key].pool)
        elif table == "apps":
            touched |= nodes_of(state.apps[key])
        elif table == "policy":
            touched.update(state.nodes)
    return touched
