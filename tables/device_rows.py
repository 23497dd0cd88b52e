"""The rows about devices: what was registered, how long it may be silent, who has it, what is wanted of it. Pure."""

from typing import Literal

import msgspec

from sdk.contract.devices import Device, DeviceKind
from tables.wakes import Wake

CommandPhase = Literal["desired", "done", "rejected", "expired", "refused"]


class DeviceRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sensor or controller that somebody registered."""

    device: Device
    #: When it was registered first.
    since_ms: int
    #: Admin state: a person may switch a device off in the eyes of the platform.
    enabled: bool = True
    #: Of a sensor whose silence is judged: offset of the event since which it is, and by which limit; 0 of all others.
    expectation: int = 0
    limit_ms: int = 0
    #: Heartbeat offset up to which facts about it are settled; -1: it was not heard in this expectation.
    seen: int = -1
    silent: bool = False
    #: When its operating state last changed.
    changed_ms: int = 0
    #: How often it fell silent.
    failures: int = 0


class SensorLimitRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """How long sensors of a type may be silent that name no limit of their own."""

    type: str
    silence_limit_ms: int


class BindingRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which devices an app has, by index in decimal; the app's, whichever node it runs on."""

    app: str
    sensors: dict[str, str] = {}
    controllers: dict[str, str] = {}

    def of(self, kind: DeviceKind) -> dict[str, str]:
        """Its devices of one kind."""
        return self.sensors if kind == "sensor" else self.controllers


class CommandRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One command to a controller; the id of its request is its own."""

    command: str
    controller: str
    #: JSON text; let go when a newer command has taken its place.
    value: str
    #: `desired` while it is in force and has not ended; `refused` never was in force.
    phase: CommandPhase
    #: Of the `ControllerSetRequested`, and its append time.
    offset: int
    asked_at_ms: int
    app: str = ""
    generation: int = 0
    reason: str = ""
    #: JSON text of what the device reported.
    reported: str = ""
    ended_at_ms: int = 0
    #: The time by which its device must have acted.
    wake: Wake | None = None
