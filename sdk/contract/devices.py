"""Devices: the sensors that apps read and the controllers that they set. Pure; checked before one enters the log.

A device has one topic. A sensor's readings are its records; a controller's topic has what is desired of it and what
it reports.
"""

import re
from typing import Literal

import msgspec

from sdk.contract.ids import check_name
from sdk.contract.whole import Whole

DeviceKind = Literal["sensor", "controller"]
KINDS: tuple[DeviceKind, ...] = ("sensor", "controller")

#: Highest index that an app may bind a device at: 1,000 sensors of one app are the most that was asked for, ten times.
INDEX_MAX = 9_999
#: Longest type, unit or location, for people only.
TEXT_LENGTH_MAX = 100
#: A sensor that is silent for longer than a day is looked at by people, not by a clock.
_SILENCE_LIMIT_MS = (1_000, 86_400_000)
#: Source: Kafka's own rule for topic names.
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


class Device(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sensor or a controller, as somebody registered it."""

    #: `sensor-<name>` or `controller-<name>`.
    device: str
    #: What it is: `thermometer`, `camera`, `lamp`. Devices of one type share a limit where they name none.
    type: str = ""
    #: What its values are in: `°C`, `lux`.
    unit: str = ""
    location: str = ""
    #: An existing topic that it uses; empty: one of its own, `device_topic`.
    topic: str = ""
    #: Silence after which it is not working, ms; 0: that of its type, and if that has none nobody expects it to speak.
    silence_limit_ms: Whole = 0

    @property
    def kind(self) -> DeviceKind:
        """Sensor or controller."""
        return kind_of(self.device)


def kind_of(device: str) -> DeviceKind:
    """What a device id says that it is.

    Raises:
        ValueError: it is no id of a device.
    """
    kind, dash, name = device.partition("-")
    if not dash or kind not in KINDS:
        raise ValueError(f"device: {device!r:.80} must begin with sensor- or controller-")
    check_name(name, what=kind)
    return "sensor" if kind == "sensor" else "controller"


def device_topic(prefix: str, device: Device) -> str:
    """The topic of a device."""
    return device.topic or f"{prefix}.{device.device}.v1"


def check_device(device: Device) -> None:
    """Raise ValueError, naming field and allowed values, unless `device` can be registered."""
    kind_of(device.device)
    for field in ("type", "unit", "location"):
        text = getattr(device, field)
        if len(text) > TEXT_LENGTH_MAX or not text.isprintable():
            raise ValueError(
                f"{field}: {text!r:.60} has control characters or more than {TEXT_LENGTH_MAX} letters"
            )
    if device.topic and (not _TOPIC.fullmatch(device.topic) or device.topic in (".", "..")):
        raise ValueError(f"topic: {device.topic!r:.80} is no name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -")
    check_limit(device.silence_limit_ms)


def check_limit(limit_ms: int) -> None:
    """Raise ValueError unless it is a time after which a sensor may be called silent; 0: none."""
    low, high = _SILENCE_LIMIT_MS
    if limit_ms and not low <= limit_ms <= high:
        raise ValueError(f"silence_limit_ms: {limit_ms} is out of range; allowed: 0 (none), {low} to {high}")


def check_type(type_: str) -> None:
    """Raise ValueError unless sensors may be of this type and share a limit."""
    if not type_ or len(type_) > TEXT_LENGTH_MAX or not type_.isprintable():
        raise ValueError(
            f"type: {type_!r:.60} is no type: 1 to {TEXT_LENGTH_MAX} letters, no control characters"
        )


def check_index(index: int) -> None:
    """Raise ValueError unless a device can be bound at `index`."""
    if not 0 <= index <= INDEX_MAX:
        raise ValueError(f"index: {index} is out of range; allowed: 0 to {INDEX_MAX}")
