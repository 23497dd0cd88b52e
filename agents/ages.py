"""How long ago an app beat: to its agent, or into a topic of its own. Pure core of the agents.

An app that still runs the original heartbeat client beats into a topic, and nothing in its records says which copy
wrote them. Rules:

1. What counts is that the topic has more records than when the copy was started (or found), whoever wrote them.
2. While the topics cannot be read to their end, the ages of such apps stand still: no silence accrues unread.
3. Once they can be read again nobody is judged before `SETTLING_MS`, since the clients have to come back too; a copy
   gains at most `SETTLING_IN_ALL_MS` so between two beats.
"""

from collections.abc import Iterator

from agents.state import SETTLING_IN_ALL_MS, SETTLING_MS, UNREAD_MS, State, Thing
from agents.turn import Turn
from sdk.contract.orders import NodeOrders


def age_of(state: State, thing: Thing, now_ms: int) -> int:
    """Time since the last beat of a thing, or since its start, as far as it is known; ms."""
    if thing.topic:
        now_ms = min(now_ms, state.topics_read_ms + UNREAD_MS)
    return max(0, now_ms - thing.since_ms)


def wakes_of(state: State, limit_ms: int) -> Iterator[int]:
    """When the running things reach the limit; those whose topic must be read first are judged after that."""
    for thing in state.things.values():
        due_ms = thing.since_ms + limit_ms
        is_judged_by_then = not thing.topic or due_ms <= state.topics_read_ms + UNREAD_MS
        if thing.status == "running" and not thing.late and is_judged_by_then:
            yield due_ms


def topics_wanted(state: State) -> frozenset[str]:
    """The topics that what is ordered here beats into."""
    orders = state.orders
    if not isinstance(orders, NodeOrders):
        return frozenset()
    return frozenset(order.beats for order in orders.apps if order.beats)


def take_topics(turn: Turn, counts: dict[str, int]) -> None:
    """The topics were read to their end: note who has beaten, and what was missed while they could not be read."""
    state = turn.state
    unread_ms = turn.now_ms - state.topics_read_ms - UNREAD_MS
    state.topics_read_ms, state.counts = turn.now_ms, counts
    for thing in list(state.things.values()):
        count = counts.get(thing.topic, -1) if thing.topic else -1
        if count < 0 or not thing.is_alive:
            continue
        if unread_ms > 0:
            _settle(turn, thing, unread_ms)
        turn.change(thing.key, count=count)
        # Fewer than before: the topic was made anew, and what is in it now is where counting begins.
        if count > thing.count >= 0:
            turn.beat(thing.key)


def _settle(turn: Turn, thing: Thing, unread_ms: int) -> None:
    """Leave out the time in which nothing could be read, and give its client time to be back."""
    orders = turn.state.orders
    # Adopted before its orders were read, or let go with them: nobody judges it now, and who does later begins here.
    limit_ms = orders.silence_limit_ms if isinstance(orders, NodeOrders) else SETTLING_MS
    since_ms = min(thing.since_ms + unread_ms, turn.now_ms)
    wanted_ms = turn.now_ms + SETTLING_MS - limit_ms - since_ms
    gained_ms = min(max(wanted_ms, 0), SETTLING_IN_ALL_MS - thing.settled_ms)
    turn.change(thing.key, since_ms=since_ms + gained_ms, settled_ms=thing.settled_ms + gained_ms)
