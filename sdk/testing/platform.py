"""`Platform`: what an app finds around it, in memory, and what a test may do to it. Part of `sdk.testing`."""

import contextlib
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from sdk import clock, controllers, notifications, sensors
from sdk.contract.codec import decode_heartbeat
from sdk.contract.devices import Device, device_topic
from sdk.contract.heartbeats import Beat
from sdk.contract.notifications import Severity, decode_notification, louder_of
from sdk.contract.topics import WIDE_PARTITIONS, Topics
from sdk.kafka_clients import MEMORY, brokers
from sdk.testing.leader import Command, Leader, Registry
from sdk.testing.memory_kafka import Broker, Record
from sdk.values import ValueRefusedError, decode_value

_PREFIX: Final = "testing"
#: The environment that an agent or an author makes, which a test is not to inherit.
_VARIABLES: Final = (
    "KAFKA_BOOTSTRAP_SERVERS",
    "WATCHKEEP_PREFIX",
    "WATCHKEEP_APP_ID",
    "WATCHKEEP_GENERATION",
    "WATCHKEEP_AGENT",
)
#: How long what the SDK does in the background may take, s: it takes milliseconds on a machine that is not overloaded.
_SEEN_WITHIN_S: Final = 5.0
_numbers = itertools.count(1)


class Told(msgspec.Struct):
    """A notification, as people would see it."""

    app: str
    key: str
    text: str
    severity: Severity
    count: int
    repeat_every_s: float
    escalate_after_s: float


class Sensor:
    """A sensor of the platform, and its device."""

    def __init__(self, platform: "Platform", device: str, topic: str) -> None:
        self._platform = platform
        #: Its id, `sensor-<name>`.
        self.id = device
        self.topic = topic

    def write(self, value: Any, *, ago_s: float = 0.0) -> None:
        """Let the device write a value, so many seconds ago; apps that read it have it when this returns."""
        self.write_raw(json.dumps(value).encode(), ago_s=ago_s)

    def write_raw(self, value: bytes, *, ago_s: float = 0.0) -> None:
        """Let the device write these bytes: what an older device writes, or garbage."""
        self._platform.append(self.topic, value, at_ms=clock.now_ms() - round(ago_s * 1000))


class Controller:
    """A controller of the platform, and its device."""

    def __init__(self, platform: "Platform", device: str) -> None:
        self._platform = platform
        #: Its id, `controller-<name>`.
        self.id = device

    @property
    def commands(self) -> list[Command]:
        """The commands to it, oldest first."""
        return [command for command in self._platform.commands if command.controller == self.id]


class Platform:
    """A platform in memory; while it is entered, the SDK of this process finds it instead of Kafka."""

    def __init__(self) -> None:
        self.bootstrap = f"{MEMORY}{next(_numbers)}"
        self._broker = Broker()
        self._registry = Registry()
        self._topics = Topics(_PREFIX)
        self._over = threading.Event()
        self._devices: list[threading.Thread] = []
        self._before: dict[str, str | None] = {}
        self._leader: Leader | None = None
        self._moved_before_ms = 0

    def __enter__(self) -> Self:
        """Let the SDK find it."""
        self._close_sdk()
        topics = self._topics
        for topic in (topics.events, topics.requests, topics.notifications, topics.dead_letters):
            self._broker.create_topic(topic)
        self._broker.create_topic(topics.heartbeats, WIDE_PARTITIONS)
        for table in ("apps", "platform"):
            self._broker.create_topic(topics.state(table))
        self._before = {name: os.environ.pop(name, None) for name in _VARIABLES}
        os.environ.update(KAFKA_BOOTSTRAP_SERVERS=self.bootstrap, WATCHKEEP_PREFIX=_PREFIX)
        self._moved_before_ms = clock.moved_ms()
        brokers[self.bootstrap] = self._broker
        self._leader = Leader(self._broker, _PREFIX, self._registry)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let everything be as before."""
        self._close_sdk()
        self._over.set()
        for thread in self._devices:
            thread.join(5.0)
        if self._leader is not None:
            self._leader.close()
        del brokers[self.bootstrap]
        clock.move(self._moved_before_ms - clock.moved_ms())
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    # --- what there is ----------------------------------------------------------------------------------

    def sensor(self, name: str, *, silence_limit_s: float = 0.0, unit: str = "") -> Sensor:
        """Register a sensor; its values are live for that long, s (0: 10 s)."""
        device = Device(f"sensor-{name}", unit=unit, silence_limit_ms=round(silence_limit_s * 1000))
        return Sensor(self, device.device, self._register(device))

    def controller(
        self, name: str, handler: Callable[[Any], Any] | None = None, *, is_away: bool = False
    ) -> Controller:
        """Register a controller whose device does what it is told, unless `handler` does something else.

        With `is_away` it has no device: commands wait for one, until the test runs `controllers.serve` or they expire.
        """
        device = Device(f"controller-{name}")
        self._register(device)
        if not is_away:
            serve = threading.Thread(
                target=controllers.serve,
                args=(device.device, handler or _obey),
                kwargs={"bootstrap": self.bootstrap, "prefix": _PREFIX, "until": self._over},
                daemon=True,
            )
            serve.start()
            self._devices.append(serve)
        return Controller(self, device.device)

    def bind(self, app: str, index: int, device: Sensor | Controller) -> None:
        """Let an app have a device at an index."""
        name = _full(app)
        kind = "sensors" if isinstance(device, Sensor) else "controllers"
        with self._broker.changed:
            row = self._registry.bound.setdefault(name, {"sensors": {}, "controllers": {}})
            row[kind][str(index)] = device.id
            self._publish("platform", f"bindings/{name}", {"app": name, **row})
        self._wait_until_read()

    def unbind(self, app: str, index: int, *, kind: str = "sensor") -> None:
        """Let an app have no device of a kind there."""
        name = _full(app)
        with self._broker.changed:
            row = self._registry.bound[name]
            del row[f"{kind}s"][str(index)]
            self._publish("platform", f"bindings/{name}", {"app": name, **row})
        self._wait_until_read()

    def app(self, name: str, *, generation: int = 0) -> None:
        """Let the platform know an app, and which generation of it is in force."""
        full = _full(name)
        with self._broker.changed:
            self._registry.apps[full] = generation
            self._publish("apps", full, {"app": full, "generation": generation})
        self._wait_until_read()

    @contextlib.contextmanager
    def managed(self, app: str, *, generation: int = 1) -> Iterator[None]:
        """The environment that an agent makes for a copy of an app; it becomes the one in force."""
        self.app(app, generation=generation)
        with self.environment(app, generation=generation):
            yield

    @contextlib.contextmanager
    def environment(self, app: str, *, generation: int) -> Iterator[None]:
        """The environment of a copy that need not be in force any more."""
        os.environ.update(WATCHKEEP_APP_ID=_full(app), WATCHKEEP_GENERATION=str(generation))
        try:
            yield
        finally:
            for name in ("WATCHKEEP_APP_ID", "WATCHKEEP_GENERATION"):
                os.environ.pop(name, None)

    # --- what apps did ----------------------------------------------------------------------------------

    @property
    def notifications(self) -> list[Told]:
        """What people were told, one per app and key; what waits is delivered before, if Kafka is there."""
        if not self._broker.is_away:
            notifications.flush(_SEEN_WITHIN_S)
        told: dict[tuple[str, str], Told] = {}
        seen = set()
        for record in self._broker.records(self._topics.notifications):
            said = decode_notification(record.value)
            if (said.app, said.generation, said.writer, said.number) in seen:
                continue
            seen.add((said.app, said.generation, said.writer, said.number))
            old = told.get((said.app, said.key))
            told[said.app, said.key] = Told(
                said.app,
                said.key,
                said.text,
                said.severity if old is None else louder_of(old.severity, said.severity),
                said.count + (0 if old is None else old.count),
                said.repeat_every_ms / 1000,
                said.escalate_after_ms / 1000,
            )
        return list(told.values())

    @property
    def commands(self) -> list[Command]:
        """All commands that the platform admitted, oldest first."""
        with self._broker.changed:
            return list(self._leader.commands.values()) if self._leader is not None else []

    @property
    def beats(self) -> list[Beat]:
        """All beats that were heard."""
        records = (decode_heartbeat(record.value) for record in self._broker.records(self._topics.heartbeats))
        return [record for record in records if isinstance(record, Beat)]

    # --- what happens to them -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Kafka is away as long as this lasts, and has been for longer than the SDK is patient."""
        self._broker.set_away(is_away=True)
        clock.move(3_500)
        try:
            yield
        finally:
            self._broker.set_away(is_away=False)
            self._wait_until_read()

    def advance(self, seconds: float) -> None:
        """Let time pass for ages of values and times of commands, without waiting."""
        clock.move(round(seconds * 1000))
        with self._broker.changed:
            self._broker.changed.notify_all()
        if not self._broker.is_away:
            self._wait_until_read()

    def forget_before(self, sensor: Sensor, offset: int) -> None:
        """What retention does: the sensor's values before this offset are deleted."""
        self._broker.delete_before(sensor.topic, offset)

    def wait_for(self, condition: Callable[[], Any], within_s: float = _SEEN_WITHIN_S) -> Any:
        """What `condition` returns as soon as that is true.

        Raises:
            TimeoutError: not in that time, s.
        """
        deadline_s = time.monotonic() + within_s
        while not (found := condition()):
            if time.monotonic() >= deadline_s:
                raise TimeoutError(f"not within {within_s:g} s")
            time.sleep(0.005)
        return found

    def append(self, topic: str, value: bytes, *, at_ms: int) -> Record:
        """Append a record of a device, and wait until whoever follows the topic has read it."""
        record = self._broker.append(topic, None, value, at_ms=at_ms)
        with contextlib.suppress(ValueRefusedError):
            decode_value(value)
            if not self._broker.is_away:
                feeds = [feed for feed in self._feeds() if topic in feed.followed]
                self.wait_for(lambda: all(_has(feed, record) for feed in feeds))
        return record

    # --- inside -----------------------------------------------------------------------------------------

    def _register(self, device: Device) -> str:
        topic = device_topic(_PREFIX, device)
        self._broker.create_topic(topic)
        with self._broker.changed:
            self._registry.topics[device.device] = topic
            row = {"device": msgspec.to_builtins(device), "enabled": True}
            self._publish("platform", f"devices/{device.device}", row)
        return topic

    def _publish(self, table: str, key: str, row: dict[str, Any]) -> None:
        view = {"as_of": 0, "table": key.partition("/")[0], "row": row}
        self._broker.append(self._topics.state(table), key.encode(), msgspec.json.encode(view))

    def _wait_until_read(self) -> None:
        """Until whoever reads in the background has heard from Kafka and read what it publishes."""
        marker = f"application-marker-{next(_numbers)}"
        feeds = self._feeds()
        if not feeds or self._broker.is_away:
            return
        self._publish("apps", marker, {})
        self.wait_for(lambda: all(feed.registry.knows(marker) and not feed.is_away for feed in feeds))
        self._broker.append(self._topics.state("apps"), marker.encode(), None)

    def _feeds(self) -> list[Any]:
        return [feed for (address, _), feed in list(sensors._feeds.items()) if address == self.bootstrap]  # noqa: SLF001 - one package

    def _close_sdk(self) -> None:
        notifications.close(0.0)
        controllers.close(0.0)
        sensors.close()


def _has(feed: Any, record: Record) -> bool:
    sample = feed.latest.get(record.topic)
    return sample is not None and sample.offset >= record.offset


def _obey(value: Any) -> Any:
    return value


def _full(app: str) -> str:
    return app if app.startswith(("application-", "service-")) else f"application-{app}"
