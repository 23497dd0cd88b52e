"""What is to be well again after the faults. Part of the simulator's judges."""

from typing import TYPE_CHECKING

from sdk.contract import events as e
from tables.orders import orders_for
from tables.pools import is_takeable, nodes_in_pool, nodes_max, spares_of
from tables.state import State, is_order_open, is_source_alive
from tables.witness import Witness
from tests.simulation.differences import plain
from tests.simulation.original_judge import is_misjudged
from tests.simulation.sim_views import view_fault

if TYPE_CHECKING:
    from tests.simulation.checkers import Checks


def unhealed(checks: "Checks") -> str:
    """What is not well yet; empty if everything is."""
    state, world = checks.state, checks.world
    if (
        why := _unhealed_pool(state)
        or _unhealed_original(checks)
        or _unhealed_sensor(checks)
        or checks.notices.unread()
        or world.house.unhealed()
    ):
        return why
    if state.pauses:
        return f"the watch over {', '.join(state.pauses)} is paused"
    for app, row in state.apps.items():
        if not row.wanted or row.gave_up:
            continue
        copy = checks.copy_of(app, row.generation)
        if row.phase != "running" or row.silent or copy is None or copy.hung:
            return f"{app} is {row.phase}, {row.pending_reason or 'placed'}, process {copy is not None}"
    for node in world.nodes.values():
        for copy in node.running():
            if not checks.is_rightful(copy):
                return f"{copy.name} runs on {node.name}"
    if state.brake.engaged >= 0 or state.brake.band != "calm":
        return f"the brake: {state.brake}"
    return _unpublished(checks)


def _unhealed_original(checks: "Checks") -> str:
    for original in checks.world.originals.all:
        source = checks.state.sources.get(original.name)
        # In a topic that nobody writes to it must have been found silent, or it would be so later.
        if source is None or not source.topic:
            continue
        speaks = source.topic == original.topic
        if not is_source_alive(source) if speaks else not source.silent:
            return f"{original.name} is watched in {source.topic}, silent {source.silent}"
    return ""


def _unhealed_sensor(checks: "Checks") -> str:
    for sensor in checks.world.sensors.all:
        row = checks.state.devices.get(sensor.name)
        if row is not None and row.expectation and is_misjudged(row, sensor):
            return f"{sensor.name}: {row}"
    return ""


def _unhealed_pool(state: State) -> str:
    for pool in state.pools.values():
        active = [
            row
            for row in state.nodes.values()
            if row.pool == pool.pool and row.status == "active" and not row.draining and not row.spare
        ]
        # More than wanted is allowed: a node that came back serves as a free one.
        if pool.silent:
            return f"{pool.pool} has a silent provisioner"
        if len(active) < pool.nodes or any(row.silent for row in active):
            return f"{pool.pool} has {len(active)} of {pool.nodes} nodes"
        ready = [row for row in spares_of(state, pool.pool) if is_takeable(row)]
        is_full = nodes_in_pool(state, pool.pool) >= nodes_max(state, pool)
        if len(ready) > pool.spares or (len(ready) < pool.spares and not is_full):
            return f"{pool.pool} has {len(ready)} of {pool.spares} spares"
    # Also one that is too many by now, of which nobody has heard yet.
    waiting = [row.order for row in state.orders.values() if is_order_open(state, row)]
    return f"orders {waiting} wait for their nodes" if waiting else ""


def _unpublished(checks: "Checks") -> str:
    state, world = checks.state, checks.world
    leaders = [worker for worker in world.living_workers() if worker.planning.leads]
    if len(leaders) != 1:
        return f"{len(leaders)} leaders"
    standing = world.standing_orders()
    for reporter in [*state.nodes, *state.pools]:
        wanted = orders_for(state, reporter, topic_id=world.events_id)
        if wanted is None:
            continue
        there = standing.get(reporter)
        if there is None or plain(there) != plain(wanted):
            return f"orders of {reporter} stand as {there}"
    if world.group.committed < world.broker.log(world.topics.requests).end:
        return "requests wait"
    if any(worker.letters.pending for worker in leaders):
        return "letters wait"
    fault = view_fault(world)
    return f"the view: {fault}" if fault else ""


def spare_left(state: State, witness: Witness, decisions: list[e.Decision]) -> tuple[str, str] | None:
    """What is wrong if an ordinary node is ordered while a spare stands by that was heard."""
    gone = {getattr(decision, "node", "") for decision in decisions}
    for order in decisions:
        if isinstance(order, e.NodeOrdered) and not order.spare:
            for spare in spares_of(state, order.pool):
                if is_takeable(spare) and spare.node not in gone and witness.confirm_heard(spare.node):
                    return "spares are taken first", f"{order} while {spare.node} stands by"
    return None
