"""The runner: brings what runs to what is ordered. Pure core: no clock, chance, asyncio or Kafka.

One door in: `advance(state, now_ms, inputs)` gives the next state and the instructions for the shell.
`now_ms` comes from a bounded clock (at most 1 s a turn), moved only after what was waiting has been read,
so an agent that was paused reads before it judges.

Rules (DESIGN 7 and 9):
1. Without a registration it says hello until orders name its claim.
2. Orders are obeyed only after reading to the end seen at the start, only with our claim, and only with an
   `as_of` not lower than the last obeyed in the same log.
3. `ended` orders, or those of another claim with a later registration, end ours: everything is killed and a
   new registration is asked for.
4. What is absent is stopped, but nothing newer than `as_of`. One copy (key, epoch) is started once; what
   exited stays exited until nobody names it.
5. While Kafka is away everything keeps running, except what was told to stop on isolation.
"""

from collections.abc import Sequence
from typing import Any

from agents import inputs as i
from agents.ages import age_of, take_topics, wakes_of
from agents.reconcile import forget_told, reconcile
from agents.reports import compose_report, next_report_at, note_acknowledged
from agents.state import (
    HELLO_PAUSE_MAX_MS,
    HELLO_PAUSE_MS,
    ISOLATED_GRACE_MS,
    NODE_STOP_GRACE_MS,
    READ_AGAIN_AFTER_MS,
    STOP_GRACE_MS,
    State,
    isolated_after_ms,
)
from agents.turn import Turn
from sdk.contract.heartbeats import Hello
from sdk.contract.orders import AppOrder, NodeOrders, PoolOrders

Orders = NodeOrders | PoolOrders


def advance(state: State, now_ms: int, given: Sequence[i.Input]) -> tuple[State, list[i.Instruction]]:
    """The state after `given` at `now_ms`, and what is to be done. `state` is left as it was."""
    turn = Turn(state, now_ms)
    for item in given:
        _take(turn, item)
    if turn.state.is_caught_up:
        _look_at_orders(turn)
    _judge_isolation(turn)
    _judge_ages(turn)
    reconcile(turn)
    forget_told(turn)
    _speak(turn)
    return turn.state, turn.out


def next_wake(state: State) -> int:
    """When the runner wants its next turn at the latest, on the bounded clock."""
    times = [state.read_again_at_ms]
    if state.is_registered and not state.is_stopping:
        times.append(next_report_at(state))
        if not state.is_isolated and _has_isolation(state):
            times.append(state.acked_at_ms + isolated_after_ms(state))
        limit_ms = _silence_limit(state)
        times += wakes_of(state, limit_ms)
    elif state.claim and not state.is_stopping:
        times.append(state.hello_at_ms)
    times += [
        thing.kill_at_ms
        for thing in state.things.values()
        if thing.kill_at_ms is not None and thing.is_alive and not thing.killed
    ]
    return min(times)


def _take(turn: Turn, item: i.Input) -> None:
    """Fold one input into the state."""
    match item:
        case i.Beaten(key, epoch):
            _take_beat(turn, key, epoch)
        case i.TopicsRead(counts):
            take_topics(turn, counts)
        case i.Exited():
            _take_exit(turn, item)
        case i.Spawned(key, epoch, pid, name) if turn.is_current(key, epoch):
            turn.change(key, pid=pid, name=name)
        case i.Acknowledged(number, True, offset):
            _take_ack(turn, number, offset)
        case i.OrdersRead(orders):
            _note_orders(turn.state, orders)
        case i.CaughtUp():
            turn.state.is_caught_up = True
        case i.ClaimDrawn(claim):
            _begin_asking(turn, claim)
        case i.StopAsked():
            _begin_stop(turn)


def _take_ack(turn: Turn, number: int, offset: int) -> None:
    """Kafka has a report: we are heard."""
    state = turn.state
    if not state.is_registered:
        return
    note_acknowledged(state, turn.now_ms, number, offset)
    if state.is_isolated and state.is_caught_up:
        # What was ordered meanwhile comes first: the end of isolation waits for the reading.
        turn.read_again()


def _begin_asking(turn: Turn, claim: str) -> None:
    """Ask for a registration under a new claim, at once; under the old one, if a start before this one did.

    That one may have been registered and have ended before it read so: the log would refuse another claim. So a claim
    is on disk before anybody hears of it.
    """
    state = turn.state
    state.claim = state.claim or claim
    turn.save()
    state.hello_at_ms = turn.now_ms
    state.hello_pause_ms = HELLO_PAUSE_MS
    state.is_refused = False


def _take_beat(turn: Turn, key: str, epoch: int) -> None:
    """A beat that came to us; of who beats into a topic, only what is in there counts."""
    if turn.is_current(key, epoch) and not turn.state.things[key].topic:
        turn.beat(key)


def _take_exit(turn: Turn, item: i.Exited) -> None:
    """An end: news, unless it was our own doing."""
    state = turn.state
    thing = state.things.get(item.key)
    if thing is None or thing.epoch != item.epoch or not thing.is_alive:
        return
    if thing.forget:
        del state.things[item.key]
        # The provider still needs the record of a node that was stopped with the platform.
        if not (state.is_stopping and state.identity.kind == "pool"):
            turn.do(i.Forget(item.key, item.epoch))
        return
    if thing.isolated:
        fresh: dict[str, Any] = {"pid": 0, "killed": False, "kill_at_ms": None}
        turn.change(item.key, status="starting", parked=True, isolated=False, **fresh)
        return
    turn.change(item.key, status="exited", exit_code=item.exit_code, reason=item.reason, late=False)
    state.is_changed = True
    turn.save()


def _note_orders(state: State, orders: Orders) -> None:
    """Keep the best of what was read: of ours the newest, of others the latest registration."""
    if state.claim and orders.claim == state.claim:
        best = state.own
        if best is None or orders.topic_id != best.topic_id or orders.as_of >= best.as_of:
            state.own = orders
    elif state.foreign is None or orders.registration >= state.foreign.registration:
        state.foreign = orders


def _look_at_orders(turn: Turn) -> None:
    """Obey what was read, or see that the registration has ended or is refused."""
    state = turn.state
    own, foreign = state.own, state.foreign
    state.own = state.foreign = None
    if own is not None and not state.is_stopping:
        if own.topic_id != state.topic_id:
            _change_log(turn, own.topic_id)
        if own.as_of >= state.as_of:
            _obey(turn, own)
    if foreign is None or (state.topic_id and foreign.topic_id != state.topic_id):
        return
    if foreign.registration <= state.registration or state.is_stopping:
        return
    if state.is_registered:
        _end_registration(turn, f"registration {foreign.registration} of another claim came after ours")
    elif not foreign.ended:
        _note_refusal(turn, foreign)


def _obey(turn: Turn, orders: Orders) -> None:
    """Take over orders that are ours and not old."""
    state = turn.state
    state.registration, state.as_of = orders.registration, orders.as_of
    if orders.ended:
        _end_registration(turn, "orders say that it is over")
        return
    if not state.is_registered:
        state.is_registered = True
        state.is_changed = True
        state.acked_at_ms = turn.now_ms
        state.read_again_at_ms = turn.now_ms + READ_AGAIN_AFTER_MS
        turn.say("info", f"registered as {orders.reporter}, registration {orders.registration}")
    state.orders = orders
    turn.save()


def _change_log(turn: Turn, topic_id: str) -> None:
    """Begin with another log: offsets of the old one mean nothing in it, and its things belong to nobody."""
    state = turn.state
    if state.topic_id:
        turn.say("warning", "the events topic is another one: stopping what the old one knew")
        _drop_everything(turn)
    state.topic_id, state.as_of = topic_id, -1


def _drop_everything(turn: Turn) -> None:
    """Kill what may live and keep no memory of anything."""
    turn.state.ended = {}
    for thing in list(turn.state.things.values()):
        if thing.is_alive:
            turn.change(thing.key, forget=True, isolated=False)
            turn.kill(thing.key)
        else:
            del turn.state.things[thing.key]
            turn.do(i.Forget(thing.key, thing.epoch))


def _end_registration(turn: Turn, why: str) -> None:
    """Nothing of this registration may go on: kill all, ask anew."""
    state = turn.state
    ended = f"registration {state.registration} has ended ({why})"
    turn.say("warning", f"{ended}: stopping everything, asking anew")
    state.is_registered = state.is_changed = state.is_isolated = False
    state.claim, state.orders = "", None
    _drop_everything(turn)
    turn.save()
    turn.do(i.DrawClaim())


def _note_refusal(turn: Turn, foreign: Orders) -> None:
    """Somebody alive has our id: say so once, and ask less often."""
    state = turn.state
    if state.is_refused:
        return
    state.is_refused = True
    turn.say(
        "error",
        f"another process is registered as {state.identity.reporter} (registration {foreign.registration}) "
        f"and alive: ours is refused; asking on, more slowly. Is the same one started twice?",
    )


def _begin_stop(turn: Turn) -> None:
    """The platform stops: from here on exits are no news, and everything is asked to end."""
    state = turn.state
    if state.is_stopping:
        return
    state.is_stopping = True
    for thing in list(state.things.values()):
        if thing.parked:
            del state.things[thing.key]
        elif thing.is_alive:
            turn.change(thing.key, forget=True, isolated=False)
            # What is condemned must not be asked to stop: a provider would park it for the next start.
            if not thing.killed:
                is_pool = state.identity.kind == "pool"
                grace_ms = NODE_STOP_GRACE_MS if is_pool else min(_grace_of(thing.order), STOP_GRACE_MS)
                turn.stop(thing.key, grace_ms=grace_ms)


def _grace_of(order: object) -> int:
    """Time between the polite stop and the kill."""
    return order.stop_grace_ms if isinstance(order, AppOrder) else STOP_GRACE_MS


def _has_isolation(state: State) -> bool:
    """Whether anything here is to be stopped when nobody hears us."""
    return any(_stops_on_isolation(thing.order) for thing in state.things.values())


def _stops_on_isolation(order: object) -> bool:
    return isinstance(order, AppOrder) and order.on_isolation == "stop"


def _judge_isolation(turn: Turn) -> None:
    """Begin or end isolation; read orders again when nobody has acknowledged anything for long."""
    state = turn.state
    now_ms = turn.now_ms
    if now_ms >= state.read_again_at_ms:
        # Not `is_caught_up = False`: what is obeyed stays obeyed while nothing newer is seen.
        turn.do(i.ReadOrders())
        state.read_again_at_ms = now_ms + READ_AGAIN_AFTER_MS
    if not state.is_registered or state.is_stopping:
        return
    is_silent = now_ms - state.acked_at_ms >= isolated_after_ms(state)
    if is_silent and not state.is_isolated and _has_isolation(state):
        state.is_isolated = True
        unheard_s = isolated_after_ms(state) / 1_000
        turn.say("warning", f"no report acknowledged for {unheard_s:g} s: stopping what must not run unheard")
        for thing in list(state.things.values()):
            if thing.is_alive and not thing.forget and _stops_on_isolation(thing.order):
                turn.change(thing.key, isolated=True)
                turn.stop(thing.key, grace_ms=min(_grace_of(thing.order), ISOLATED_GRACE_MS))
    elif state.is_isolated and not is_silent and state.is_caught_up:
        state.is_isolated = False
        turn.say("info", "reports are acknowledged again: starting what is still ordered")


def _judge_ages(turn: Turn) -> None:
    """Note each running app whose last beat has become too old."""
    state = turn.state
    if not state.is_registered or state.identity.kind == "pool":
        return
    limit_ms = _silence_limit(state)
    for thing in list(state.things.values()):
        if thing.status == "running" and not thing.late and age_of(state, thing, turn.now_ms) >= limit_ms:
            turn.change(thing.key, late=True)
            state.is_changed = True


def _silence_limit(state: State) -> int:
    """Age of a beat that is reported at once."""
    # A pool's nodes do not beat to their provisioner; they are never late here.
    return state.orders.silence_limit_ms if isinstance(state.orders, NodeOrders) else 1 << 60


def _speak(turn: Turn) -> None:
    """Say hello, report, or say nothing."""
    state = turn.state
    if state.is_stopping:
        # A report without the apps that the platform has just stopped would move them elsewhere.
        if not state.is_finished and not any(thing.is_alive for thing in state.things.values()):
            state.is_finished = True
            turn.save()
            turn.do(i.Finish())
        return
    if state.is_registered:
        if turn.now_ms >= next_report_at(state):
            turn.do(i.Send(compose_report(turn)))
    elif state.claim and turn.now_ms >= state.hello_at_ms:
        turn.do(i.Send(_compose_hello(state)))
        state.hello_at_ms = turn.now_ms + state.hello_pause_ms
        if state.is_refused:
            state.hello_pause_ms = min(state.hello_pause_ms * 2, HELLO_PAUSE_MAX_MS)


def _compose_hello(state: State) -> Hello:
    """The request for a registration."""
    who = state.identity
    state.number += 1
    return Hello(
        reporter=who.reporter,
        claim=state.claim,
        order=who.order,
        registration=state.registration,
        number=state.number,
        sent_at_ms=0,
        ip=who.ip,
        port=who.port,
        pool=who.pool,
        slots=who.slots,
        drivers=who.drivers,
        boot_id=who.boot_id,
    )
