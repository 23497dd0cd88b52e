"""What the platform makes of commands to controllers, as far as an app can tell. Part of `sdk.testing`.

The platform's own rules stand in its fold; the same contract tests run against both, so that this does not drift.
"""

import threading
from typing import Any

import msgspec

from sdk.clock import now_ms
from sdk.contract.codec import DecodeError, decode_request, encode_event
from sdk.contract.controllers import (
    DESIRED_KEY,
    NOT_BOUND,
    REPORTED_KEY,
    UNKNOWN_APP,
    Desired,
    decode_reported,
    encode_desired,
    text_of,
)
from sdk.contract.events import ControllerSetRequested, Event, RequestRefused
from sdk.contract.requests import SetController
from sdk.contract.topics import Topics
from sdk.testing.memory_kafka import Broker, Record

_LOG = "in-memory"
#: How often it looks whether a command's time is over, s.
_LOOK_S = 0.05


class Command(msgspec.Struct):
    """A command to a controller, and what has become of it."""

    command: str
    app: str
    controller: str
    value: Any
    #: `desired`, `done`, `rejected` or `expired`.
    state: str
    reason: str = ""
    #: When its time is over, ms UTC of the platform's clock.
    until_ms: int = 0
    as_of: int = 0


class Registry:
    """Who is known and what is bound; changed with the broker's `changed` held."""

    def __init__(self) -> None:
        #: App -> generation in force.
        self.apps: dict[str, int] = {}
        #: App -> index -> device, by kind.
        self.bound: dict[str, dict[str, dict[str, str]]] = {}
        #: Device -> topic.
        self.topics: dict[str, str] = {}


class Leader:
    """Reads requests and reports in a thread of its own, while Kafka is there."""

    def __init__(self, broker: Broker, prefix: str, registry: Registry) -> None:
        self._broker, self._registry = broker, registry
        self._topics = Topics(prefix)
        self._read: dict[str, int] = {}
        self._over = False
        #: Oldest first.
        self.commands: dict[str, Command] = {}
        self._thread = threading.Thread(target=self._run, name="testing leader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._over = True
        with self._broker.changed:
            self._broker.changed.notify_all()
        self._thread.join(5.0)

    def _run(self) -> None:
        with self._broker.changed:
            while not self._over:
                if not self._broker.is_away:
                    self._turn()
                self._broker.changed.wait(_LOOK_S)

    def _turn(self) -> None:
        for record in self._new(self._topics.requests):
            self._admit(record)
        for device, topic in list(self._registry.topics.items()):
            if device.startswith("controller-"):
                for record in self._new(topic):
                    self._hear(device, record)
        for command in self.commands.values():
            if command.state == "desired" and now_ms() >= command.until_ms:
                self._end(command, "expired", f"{command.controller} did not act in its time")
                self._want(command, withdrawn=True)

    def _new(self, topic: str) -> list[Record]:
        records = self._broker.records(topic)[self._read.get(topic, 0) :]
        self._read[topic] = self._read.get(topic, 0) + len(records)
        return records

    def _admit(self, record: Record) -> None:
        try:
            asked = decode_request(record.value)
        except DecodeError:
            return
        wish, name = asked.request, asked.id
        if not isinstance(wish, SetController) or name in self.commands:
            return
        controller = wish.controller or self._bound(wish)
        if fault := self._fault(wish, controller):
            self._append(RequestRefused(name, fault), cause=name)
            return
        requested = ControllerSetRequested(
            name, controller, wish.value, wish.for_ms, wish.app, wish.generation, wish.sent_at_ms
        )
        offset = self._append(requested, cause=name)
        for other in self.commands.values():
            if other.controller == controller and other.state == "desired":
                self._end(other, "rejected", f"superseded by command {name}")
        value = msgspec.json.decode(wish.value)
        command = Command(name, wish.app, controller, value, "desired", "", now_ms() + wish.for_ms, offset)
        self.commands[name] = command
        self._want(command)

    def _bound(self, wish: SetController) -> str:
        return self._registry.bound.get(wish.app, {}).get("controllers", {}).get(str(wish.index), "")

    def _fault(self, wish: SetController, controller: str) -> str:
        app, registry = wish.app, self._registry
        if app and app not in registry.apps and app not in registry.bound:
            return f"{UNKNOWN_APP}no app {app!r:.80} is known, and no controller is bound to it"
        if not controller:
            has = ", ".join(registry.bound.get(app, {}).get("controllers", {})) or "none"
            return f"{NOT_BOUND}{app} has no controller at index {wish.index}; bound: {has}"
        now = registry.apps.get(app, 0)
        if wish.generation and wish.generation != now:
            in_force = f"{now} is" if now else "none is"
            return f"generation {wish.generation} of {app} is not in force, {in_force}"
        return ""

    def _hear(self, device: str, record: Record) -> None:
        if record.key != REPORTED_KEY:
            return
        try:
            reported = decode_reported(record.value)
        except DecodeError:
            return
        command = self.commands.get(reported.command)
        if command is not None and command.controller == device and command.state == "desired":
            self._end(command, reported.outcome, reported.reason, text_of(reported.value))

    def _end(self, command: Command, state: str, reason: str, reported: str = "") -> None:
        command.state, command.reason = state, reason
        row = {"command": command.command, "phase": state, "reason": reason, "reported": reported}
        self._broker.append(
            self._topics.state("platform"),
            f"commands/{command.command}".encode(),
            msgspec.json.encode({"as_of": command.as_of, "table": "commands", "row": row}),
        )

    def _want(self, command: Command, *, withdrawn: bool = False) -> None:
        desired = Desired(
            command.command,
            msgspec.Raw(msgspec.json.encode(command.value)),
            _LOG,
            command.as_of,
            app=command.app,
            withdrawn=withdrawn,
        )
        topic = self._registry.topics[command.controller]
        self._broker.append(topic, DESIRED_KEY, encode_desired(desired))

    def _append(self, event: Event, *, cause: str) -> int:
        value = encode_event(event, event_id=f"event-{cause}", cause=cause, writer="testing", at_ms=now_ms())
        return self._broker.append(self._topics.events, cause.encode(), value).offset
