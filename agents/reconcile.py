"""The difference between what runs and what is ordered, and what follows from it. Pure core of the agents."""

from msgspec.structs import replace

from agents.inputs import Forget, Spawn
from agents.state import ENDED_MAX, STOP_GRACE_MS, Thing
from agents.turn import Turn
from sdk.contract.orders import AppOrder, NodeOrder, NodeOrders


def reconcile(turn: Turn) -> None:
    """Stop what is not ordered, start what is missing, kill what is condemned or out of grace."""
    state = turn.state
    if not state.is_stopping:
        _restart_parked_nodes(turn)
        if state.is_registered:
            wanted = wanted_by(turn)
            for thing in list(state.things.values()):
                _compare(turn, thing, wanted.get(thing.key))
            for key, order in wanted.items():
                _start_missing(turn, key, order)
    for thing in list(state.things.values()):
        if thing.is_alive and thing.kill_at_ms is not None and turn.now_ms >= thing.kill_at_ms:
            turn.kill(thing.key)


def forget_told(turn: Turn) -> None:
    """Drop each exit that nobody names any more, once a report that told of it was acknowledged."""
    state = turn.state
    if not state.is_registered or not any(thing.status == "exited" for thing in state.things.values()):
        return
    wanted = wanted_by(turn)
    dropped = False
    for thing in list(state.things.values()):
        is_known = 0 < thing.told <= state.acked_number
        if thing.status == "exited" and is_known and not _is_held(turn, thing, wanted.get(thing.key)):
            del state.things[thing.key]
            _remember_end(turn, thing)
            turn.do(Forget(thing.key, thing.epoch))
            dropped = True
    if dropped:
        turn.save()


def _remember_end(turn: Turn, thing: Thing) -> None:
    others = {key: epoch for key, epoch in turn.state.ended.items() if key != thing.key}
    newest = list(others.items())[-ENDED_MAX + 1 :]
    turn.state.ended = {**dict(newest), thing.key: thing.epoch}


def wanted_by(turn: Turn) -> dict[str, AppOrder | NodeOrder]:
    """What the orders obeyed name, by key."""
    orders = turn.state.orders
    if orders is None:
        return {}
    if isinstance(orders, NodeOrders):
        return {order.app: order for order in orders.apps}
    return {str(order.order): order for order in orders.nodes}


def epoch_of(order: AppOrder | NodeOrder) -> int:
    """Generation of an app, order of a node."""
    return order.generation if isinstance(order, AppOrder) else order.order


def _is_held(turn: Turn, thing: Thing, order: AppOrder | NodeOrder | None) -> bool:
    """Whether orders name this copy, or are too old to know it."""
    return thing.epoch > turn.state.as_of or (order is not None and epoch_of(order) == thing.epoch)


def _restart_parked_nodes(turn: Turn) -> None:
    """Nodes that were stopped with the platform come back at once; orders may still take them away."""
    state = turn.state
    if state.identity.kind != "pool":
        return
    for thing in list(state.things.values()):
        if thing.parked:
            turn.change(thing.key, parked=False, since_ms=turn.now_ms)
            turn.do(Spawn(thing.key, thing.epoch, None))


def _compare(turn: Turn, thing: Thing, order: AppOrder | NodeOrder | None) -> None:
    """Bring one known thing to its orders, or to its end if there are none."""
    if order is not None and epoch_of(order) == thing.epoch:
        if thing.order is not order:
            turn.change(thing.key, order=order)
        if isinstance(order, AppOrder) and order.kill and thing.is_alive:
            turn.kill(thing.key)
        return
    if thing.epoch > turn.state.as_of:
        return
    if thing.parked:
        del turn.state.things[thing.key]
    elif thing.is_alive:
        _end_unwanted(turn, thing)


def _end_unwanted(turn: Turn, thing: Thing) -> None:
    """Stop a copy that is not ordered: without grace if it hangs already, or if it is a node."""
    was_alive = thing.status != "stopping"
    if thing.isolated:
        turn.change(thing.key, isolated=False)
    if turn.state.identity.kind == "pool" or thing.late:
        turn.kill(thing.key)
    else:
        grace_ms = thing.order.stop_grace_ms if isinstance(thing.order, AppOrder) else STOP_GRACE_MS
        turn.stop(thing.key, grace_ms=grace_ms)
    if was_alive and turn.state.identity.kind == "pool":
        turn.state.is_changed = True


def _start_missing(turn: Turn, key: str, order: AppOrder | NodeOrder) -> None:
    """Start what is ordered and never was there; nothing is brought to life only to be killed."""
    state = turn.state
    thing = state.things.get(key)
    epoch = epoch_of(order)
    if thing is not None and not thing.parked and (thing.status != "exited" or thing.epoch >= epoch):
        return
    if thing is None and epoch <= state.ended.get(key, -1):
        return
    if isinstance(order, AppOrder) and order.kill:
        return
    waits = isinstance(order, AppOrder) and state.is_isolated and order.on_isolation == "stop"
    if waits and thing is not None and thing.parked:
        return
    if thing is not None and thing.status == "exited":
        turn.do(Forget(key, thing.epoch))
    # What waits for the end of isolation is named all the same: by a report under these orders that is silent about
    # it, it would be lost.
    new = Thing(key, epoch, "starting", turn.now_ms, order=order, parked=waits)
    state.things[key] = replace(new, count=state.counts.get(new.topic, -1))
    turn.save()
    if not waits:
        turn.do(Spawn(key, epoch, order))
    if state.identity.kind == "pool":
        state.is_changed = True
