"""Sensors: what an app reads. Importing it opens nothing; the first read starts one thread in the background.

    from sdk import sensors

    reading = sensors.read(0)                  # Reading(value=21.5, at_ms=..., age_ms=310, quality='live', offset=88)
    for reading in sensors.stream(0, n=10):    # the next ten
        ...
    for reading in sensors.stream(0, since=3600.0):   # from an hour ago, and on
        ...
    for row in sensors.join([0, 1, 2], tolerance_s=0.5):  # one row for each value of sensor 0
        inside, outside, door = row.values

A sensor is known by the index that it is bound at (`python cli.py sensors bind`). Inside an app that Watchkeep runs the
app is known; anywhere else it is named: `read(0, app="application-1")`. Kafka is found by `KAFKA_BOOTSTRAP_SERVERS`.

When Kafka is away a read answers at once from the last value, with quality `stale`, and a stream goes on afterwards
where it stopped.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeVar

from sdk.clock import now_ms
from sdk.contract.ids import complete_app
from sdk.joining import Joined
from sdk.registry_view import Bound
from sdk.sensor_errors import NotBoundError, NotYoursError, SensorUnreachableError, UnknownAppError
from sdk.sensor_feed import SensorFeed
from sdk.sensor_items import SensorItems
from sdk.sensor_join import JoinTimes, SensorJoin
from sdk.sensor_stream import Point, SensorStream

T = TypeVar("T")

#: `live`: younger than the sensor's limit (10 s if it has none); `stale`: older, or Kafka is away; `no-value-yet`: the
#: sensor has written nothing; `unreachable`: nothing is known of it, because Kafka or its topic cannot be found.
Quality = Literal["live", "stale", "no-value-yet", "unreachable"]

#: How long the first read of a program waits for the registry and the value; later ones wait for nothing. Source: a
#: fresh client needs a tenth of that, a broker that is just electing a leader most of it.
FIRST_READ_WITHIN_S = 3.0

#: How far apart values of one row of `join` may be, s, and how long a row waits for who is late. Source: half the beat
#: of a sensor that speaks once a second, and two of its beats.
TOLERANCE_S = 0.5
PATIENCE_S = 2.0

_lock = threading.Lock()
_feeds: dict[tuple[str, str], SensorFeed] = {}


class Reading(NamedTuple):
    """What a sensor said last."""

    #: None if there is none.
    value: Any
    #: When the device wrote it, ms UTC; 0 if there is no value.
    at_ms: int
    #: How long ago that is, ms, on this machine's clock.
    age_ms: int
    quality: Quality
    #: Where it stands in the sensor's topic; -1 if there is no value.
    offset: int


def read(sensor_idx: int, *, app: str | None = None) -> Reading:
    """The newest value of the sensor at an index, from memory.

    Raises:
        UnknownAppError: nobody knows the app.
        NotBoundError: the app has no sensor at this index.
        NotYoursError: inside a managed app, another app was named.
    """
    name = _app(app)
    feed = _feed()
    feed.follow(name)
    if not feed.is_registry_read:
        _wait_for(feed, lambda: feed.is_registry_read)
        if not feed.is_registry_read:
            return Reading(None, 0, 0, "unreachable", -1)
    bound = _bound(feed, name, sensor_idx)
    sample = feed.latest.get(bound.topic)
    if sample is None and bound.topic not in feed.followed and bound.topic not in feed.missing:
        _wait_for(feed, lambda: bound.topic in feed.followed or bound.topic in feed.missing)
        sample = feed.latest.get(bound.topic)
    if sample is None:
        known = bound.topic in feed.followed and not feed.is_away
        return Reading(None, 0, 0, "no-value-yet" if known else "unreachable", -1)
    age_ms = max(0, now_ms() - sample.at_ms)
    is_live = bound.enabled and age_ms <= bound.live_ms and not feed.is_away
    return Reading(sample.value, sample.at_ms, age_ms, "live" if is_live else "stale", sample.offset)


def stream(
    sensor_idx: int,
    n: int | None = None,
    *,
    since: float | datetime | None = None,
    at: datetime | None = None,
    app: str | None = None,
) -> SensorStream:
    """The values of a sensor in their order, without gaps or repeats.

    Args:
        sensor_idx: The index that it is bound at.
        n: End after so many; without it, never, unless `at` is given.
        since: Begin so many seconds ago, or at that time; without it (and without `at`), with the next value.
        at: End with the last value written before that time, as if it were then; with `n` and without `since` the
            last `n` before it.
        app: Whose sensor; inside a managed app its own.

    Raises:
        The errors of `read`, and SensorUnreachableError if Kafka or the sensor's topic cannot be found.
    """
    name, feed = _registered(app)
    bound = _bound(feed, name, sensor_idx)
    return SensorStream(
        feed.bootstrap, bound.sensor, bound.topic, n=n, since=since, at=at, refused=feed.garbage.meet
    )


def join(
    sensor_idxs: Sequence[int],
    *,
    tolerance_s: float = TOLERANCE_S,
    patience_s: float = PATIENCE_S,
    n: int | None = None,
    since: float | datetime | None = None,
    at: datetime | None = None,
    app: str | None = None,
) -> SensorJoin:
    """Several sensors joined on time: one row for each value of the first one, in the order of time.

    A row has `values` (and `points`, with time and offset), one for each sensor: of every other sensor the value that
    was written nearest in time, at most `tolerance_s` away. It comes as soon as no better one can come; who has said
    nothing for `patience_s` after the first sensor's value was read is missing in it: None, and `is_complete` is false.
    What comes later than that is counted in the join's `late`. Time in which Kafka is away is no patience.

    At most 1,000 values of each sensor wait: with more the oldest row is given as it is, and of the others the oldest
    value is dropped and counted in `dropped`.

    Args:
        sensor_idxs: The indexes that they are bound at; the first one leads. Two and more, each once.
        tolerance_s: How far apart the values of one row may be, s.
        patience_s: How long a row waits for who is late, s. With `at` nobody is late, and nobody is waited for.
        n: End after so many rows.
        since: Begin so many seconds ago, or at that time; without it with the next value.
        at: End with the last value written before that time, as if it were then; needs `since`.
        app: Whose sensors; inside a managed app its own.

    Raises:
        The errors of `stream`, and ValueError for fewer than two indexes, one twice, a negative number, or `at` alone.
    """
    name, feed = _registered(app)
    bound = [_bound(feed, name, index) for index in sensor_idxs]
    return SensorJoin(
        feed.bootstrap,
        [(each.sensor, each.topic) for each in bound],
        JoinTimes(tolerance_s, patience_s, n, since, at),
        refused=feed.garbage.meet,
    )


async def read_async(sensor_idx: int, *, app: str | None = None) -> Reading:
    """`read` for programs with an event loop, which is not held up by the first read."""
    return await asyncio.to_thread(read, sensor_idx, app=app)


async def stream_async(
    sensor_idx: int,
    n: int | None = None,
    *,
    since: float | datetime | None = None,
    at: datetime | None = None,
    app: str | None = None,
) -> AsyncIterator[Point]:
    """`stream` for programs with an event loop."""
    points = await asyncio.to_thread(stream, sensor_idx, n, since=since, at=at, app=app)
    async for point in _each(points):
        yield point


async def join_async(
    sensor_idxs: Sequence[int],
    *,
    tolerance_s: float = TOLERANCE_S,
    patience_s: float = PATIENCE_S,
    n: int | None = None,
    since: float | datetime | None = None,
    at: datetime | None = None,
    app: str | None = None,
) -> AsyncIterator[Joined]:
    """`join` for programs with an event loop."""
    times: dict[str, Any] = {"tolerance_s": tolerance_s, "patience_s": patience_s}
    rows = await asyncio.to_thread(join, sensor_idxs, n=n, since=since, at=at, app=app, **times)
    async for row in _each(rows):
        yield row


async def _each(items: SensorItems[T]) -> AsyncIterator[T]:
    """Each item, waited for in a thread; whoever stops listening closes it."""
    try:
        while (item := await asyncio.to_thread(next, items, None)) is not None:
            yield item
    finally:
        items.close()


def close() -> None:
    """Follow nothing more; the next read starts again."""
    with _lock:
        feeds = list(_feeds.values())
        _feeds.clear()
    for feed in feeds:
        feed.close()


def _feed() -> SensorFeed:
    where = (
        os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:9092",
        os.environ.get("WATCHKEEP_PREFIX") or "watchkeep",
    )
    feed = _feeds.get(where)
    if feed is None:
        with _lock:
            feed = _feeds.setdefault(where, SensorFeed(*where))
    return feed


def _app(app: str | None) -> str:
    own = os.environ.get("WATCHKEEP_APP_ID", "")
    name = complete_app(app) if app else own
    if not name:
        raise UnknownAppError("Outside of a managed app the app must be named: app='application-...'.")
    if own and name != own:
        raise NotYoursError(f"{own} cannot read the sensors of {name}: only its own.")
    return name


def _registered(app: str | None) -> tuple[str, SensorFeed]:
    """Whose sensors, and the feed that knows them."""
    name, feed = _app(app), _feed()
    feed.follow(name)
    _wait_for(feed, lambda: feed.is_registry_read)
    if not feed.is_registry_read:
        raise SensorUnreachableError(f"No Kafka with this platform answers at {feed.bootstrap}.")
    return name, feed


def _bound(feed: SensorFeed, app: str, index: int) -> Bound:
    """What is bound there; what was bound a moment ago may still be on its way, once."""
    try:
        return feed.registry.bound(app, index)
    except (UnknownAppError, NotBoundError):
        _wait_for(feed, lambda: _is_bound(feed, app, index), within_s=0.3)
        return feed.registry.bound(app, index)


def _is_bound(feed: SensorFeed, app: str, index: int) -> bool:
    try:
        feed.registry.bound(app, index)
    except (UnknownAppError, NotBoundError):
        return False
    return True


def _wait_for(feed: SensorFeed, condition: Callable[[], bool], within_s: float | None = None) -> None:
    with feed.changed:
        feed.changed.wait_for(condition, FIRST_READ_WITHIN_S if within_s is None else within_s)
