"""Which sensors an app has, as the platform publishes it on its state topics. Pure."""

from typing import Any

import msgspec

from sdk.contract.devices import Device, device_topic
from sdk.sensor_errors import NotBoundError, UnknownAppError

#: A sensor that names no limit of its own counts as live for this long. Source: the contract of `heart_beat()`.
LIVE_MS = 10_000


class Bound(msgspec.Struct, frozen=True):
    """A sensor as an app has it."""

    sensor: str
    topic: str
    #: A value older than this is stale, ms.
    live_ms: int
    enabled: bool


class _Device(msgspec.Struct):
    device: Device
    enabled: bool = True
    #: Its own limit or that of its type, while it is judged by one.
    limit_ms: int = 0


class _Binding(msgspec.Struct):
    app: str
    sensors: dict[str, str] = {}


class _Row(msgspec.Struct):
    row: msgspec.Raw = msgspec.Raw()


_KINDS: dict[str, Any] = {"devices": _Device, "bindings": _Binding}


class RegistryView:
    """Devices, bindings and names of apps, as far as they were read."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._devices: dict[str, _Device] = {}
        self._bindings: dict[str, _Binding] = {}
        self._apps: set[str] = set()
        #: Grows with each change of a device or a binding.
        self.version = 0

    def apply(self, table: str, key: bytes | None, value: bytes | None) -> None:
        """Take one record of the state topic of `apps` or `platform`; what is of no interest is passed over."""
        name = (key or b"").decode(errors="replace")
        if table == "apps":
            (self._apps.discard if value is None else self._apps.add)(name)
            return
        kind, _, name = name.partition("/")
        if kind not in _KINDS:
            return
        self.version += 1
        rows: dict[str, Any] = self._devices if kind == "devices" else self._bindings
        if value is None:
            rows.pop(name, None)
            return
        try:
            row = msgspec.json.decode(value, type=_Row).row
            rows[name] = msgspec.json.decode(row, type=_KINDS[kind])
        except msgspec.DecodeError:
            # Written by a platform newer than this program; what it does not understand it does not have.
            rows.pop(name, None)

    def knows(self, app: str) -> bool:
        """Whether there is an app of this name."""
        return app in self._apps

    def bound(self, app: str, index: int) -> Bound:
        """The sensor that an app has at an index.

        Raises:
            UnknownAppError: nobody knows the app.
            NotBoundError: it has no sensor there; the text says which it has.
        """
        row = self._bindings.get(app)
        if row is None and app not in self._apps:
            raise UnknownAppError(f"No app {app!r:.80} is known, and no sensor is bound to it.")
        sensor = row.sensors.get(str(index)) if row is not None else None
        if sensor is None or sensor not in self._devices:
            has = ", ".join(row.sensors) if row is not None and row.sensors else "none"
            raise NotBoundError(f"{app} has no sensor at index {index}; bound: {has}.")
        device = self._devices[sensor]
        live_ms = device.limit_ms or device.device.silence_limit_ms or LIVE_MS
        return Bound(sensor, device_topic(self._prefix, device.device), live_ms, device.enabled)

    def topics_of(self, app: str) -> set[str]:
        """The topics of all sensors of an app."""
        row = self._bindings.get(app)
        names = row.sensors.values() if row is not None else ()
        return {
            device_topic(self._prefix, device.device)
            for device in (self._devices.get(name) for name in names)
            if device is not None
        }
