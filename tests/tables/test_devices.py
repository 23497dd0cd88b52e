"""The registry of sensors and controllers: what is admitted, what the fold makes of it, what is refused and why."""

import pytest

from sdk.contract.codec import Asked
from sdk.contract.devices import Device, check_device, device_topic, kind_of
from sdk.contract.events import DeviceBound, Event, RequestRefused
from sdk.contract.requests import (
    BindDevice,
    EnableDevice,
    RegisterDevice,
    Request,
    RetireDevice,
    UnbindDevice,
)
from tables.admit import admit
from tables.invariants import check_invariants
from tables.state import State
from tests.streams.logs import Log

LAMP = Device("controller-lamp", "lamp")
HALL, YARD = Device("sensor-hall", "thermometer", "°C"), Device("sensor-yard", "thermometer", "°C")


class Registry:
    """Requests, answered by the log."""

    def __init__(self) -> None:
        self.log = Log()
        self._count = 0

    @property
    def state(self) -> State:
        """The fold."""
        return self.log.state

    def ask(self, *requests: Request) -> Event:
        """Ask, and return the last answer; each is folded."""
        for request in requests:
            self._count += 1
            event = admit(self.state, Asked(f"request-{self._count}", request))
            self.log.add(event)
            assert self.log.outcomes[-1].accepted
        return event

    def refusal(self, request: Request) -> str:
        """Why a request is refused."""
        answer = self.ask(request)
        assert isinstance(answer, RequestRefused)
        return answer.reason


@pytest.fixture
def registry() -> Registry:
    """Two sensors and a lamp."""
    registry = Registry()
    registry.ask(RegisterDevice(HALL), RegisterDevice(YARD), RegisterDevice(LAMP))
    return registry


def test_an_app_has_its_devices_by_index_and_kind(registry: Registry) -> None:
    """Sensors and controllers have indexes of their own, in the order of the numbers; the last binding counts."""
    for index, device in (
        (10, "sensor-hall"),
        (2, "sensor-hall"),
        (0, "sensor-hall"),
        (0, "controller-lamp"),
    ):
        registry.ask(BindDevice("application-a", index, device))
    registry.ask(BindDevice("application-a", 0, "sensor-yard"))

    row = registry.state.bindings["application-a"]
    assert list(row.sensors.items()) == [("0", "sensor-yard"), ("2", "sensor-hall"), ("10", "sensor-hall")]
    assert row.controllers == {"0": "controller-lamp"}

    registry.ask(UnbindDevice("application-a", 2))
    assert list(registry.state.bindings["application-a"].sensors) == ["0", "10"]
    assert check_invariants(registry.state) == []


def test_what_is_bound_cannot_be_retired(registry: Registry) -> None:
    """A device goes when no app has it any more."""
    registry.ask(BindDevice("application-a", 0, "sensor-hall"))
    assert registry.refusal(RetireDevice("sensor-hall")) == (
        "sensor-hall is bound to application-a: unbind it first"
    )
    registry.ask(UnbindDevice("application-a", 0), RetireDevice("sensor-hall"))
    assert sorted(registry.state.devices) == ["controller-lamp", "sensor-yard"]


def test_registering_again_changes_properties_and_nothing_else(registry: Registry) -> None:
    """Admin state and bindings stay."""
    since_ms = registry.state.devices["sensor-hall"].since_ms
    registry.ask(
        BindDevice("application-a", 0, "sensor-hall"),
        EnableDevice("sensor-hall", enabled=False),
        RegisterDevice(Device("sensor-hall", "camera", topic="hall-camera")),
    )
    row = registry.state.devices["sensor-hall"]
    assert (row.device.type, row.enabled, row.since_ms) == ("camera", False, since_ms)
    assert device_topic("watchkeep", row.device) == "hall-camera"
    assert device_topic("watchkeep", YARD) == "watchkeep.sensor-yard.v1"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (BindDevice("application-a", 0, "sensor-none"), "no device 'sensor-none'"),
        (
            BindDevice("hall", 0, "sensor-hall"),
            "app: 'hall' must begin with application- or service-",
        ),
        (
            BindDevice("application-a", 10_000, "sensor-hall"),
            "index: 10000 is out of range; allowed: 0 to 9999",
        ),
        (UnbindDevice("application-a", 0), "application-a has no sensor at index 0"),
        (UnbindDevice("application-a", 0, "controller"), "application-a has no controller at index 0"),
        (EnableDevice("sensor-none"), "no device 'sensor-none'"),
        (RetireDevice("sensor-none"), "no device 'sensor-none'"),
        (RegisterDevice(Device("hall")), "device: 'hall' must begin with sensor- or controller-"),
        (
            RegisterDevice(Device("sensor-hall", topic="not a topic")),
            "topic: 'not a topic' is no name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -",
        ),
        (
            RegisterDevice(Device("sensor-hall", silence_limit_ms=1)),
            "silence_limit_ms: 1 is out of range; allowed: 0 (none), 1000 to 86400000",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_one_sentence(registry: Registry, request_: Request, said: str) -> None:
    """It names what is wrong and what is allowed, and changes nothing."""
    before = dict(registry.state.devices), dict(registry.state.bindings)
    assert registry.refusal(request_) == said
    assert (registry.state.devices, registry.state.bindings) == before


def test_what_nobody_admitted_does_not_count(registry: Registry) -> None:
    """The fold checks again what the admission checked."""
    registry.log.add(DeviceBound("request-x", "application-a", 99_999, "sensor-hall"), accepted=False)
    assert registry.log.outcomes[-1].dropped == "index: 99999 is out of range; allowed: 0 to 9999"


def test_ids_say_what_a_device_is() -> None:
    """Sensor or controller."""
    assert [kind_of(it.device) for it in (HALL, LAMP)] == ["sensor", "controller"]
    check_device(HALL)
    with pytest.raises(ValueError, match="sensor"):
        kind_of("sensor-")
