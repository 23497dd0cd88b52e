"""Fold of the registry: sensors, controllers, and which app has which. Pure; part of `tables.fold`."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.devices import Device, DeviceKind, check_device, check_index, check_limit, check_type
from sdk.contract.events import (
    DeviceBound,
    DeviceEnabled,
    DeviceRegistered,
    DeviceRetired,
    DeviceUnbound,
    Event,
    SensorLimitChanged,
)
from tables.device_rows import BindingRow, DeviceRow, SensorLimitRow
from tables.fold_commands import retire_commands
from tables.fold_requests import remember, request_fault
from tables.state import State

if TYPE_CHECKING:
    from tables.fold import Meta


#: Sensors that are judged at once. A bridge asks for the ends of all their topics in one request, five times a second:
#: see docs/adr/0030 for what that costs.
JUDGED_MAX = 2_000


def apps_bound_to(state: State, device: str) -> list[str]:
    """The apps that have a device, sorted."""
    return sorted(
        app
        for app, row in state.bindings.items()
        if device in row.sensors.values() or device in row.controllers.values()
    )


def silence_limit(state: State, device: Device) -> int:
    """Silence after which a sensor is not working, ms: its own limit, else that of its type; 0: it may be silent."""
    if device.kind != "sensor":
        return 0
    of_type = state.sensor_limits.get(device.type)
    return device.silence_limit_ms or (of_type.silence_limit_ms if of_type is not None else 0)


def judged_fault(state: State, judged: Iterable[str]) -> str:
    """Why these sensors cannot be judged in place of those that are now, or an empty string."""
    count = len(set(judged))
    if count <= len(state.judged) or count <= JUDGED_MAX:
        return ""
    return f"{count} sensors would have to be listened to; allowed: at most {JUDGED_MAX} with a limit and enabled"


def would_judge(state: State, row: DeviceRow) -> set[str]:
    """The sensors that are judged once a device has this row."""
    name = row.device.device
    is_judged = row.enabled and silence_limit(state, row.device) > 0
    return state.judged | {name} if is_judged else state.judged - {name}


def would_limit(state: State, type_: str, limit_ms: int) -> set[str]:
    """The sensors that are judged once a type has this limit."""
    of_type = {
        name
        for name, row in state.devices.items()
        if row.device.type == type_ and row.device.kind == "sensor" and not row.device.silence_limit_ms
    }
    enabled = {name for name in of_type if state.devices[name].enabled}
    return (state.judged - of_type) | (enabled if limit_ms else set())


def _judge(state: State, row: DeviceRow, meta: "Meta", *, anew: bool = False) -> DeviceRow:
    """The row as its sensor is judged from here on; what is judged already goes on, unless it begins `anew`."""
    limit_ms = silence_limit(state, row.device) if row.enabled else 0
    if limit_ms and row.expectation and not anew:
        return replace(row, limit_ms=limit_ms)
    if not limit_ms and not row.expectation:
        return row
    # Only a log that begins with a device has it at offset 0, which means that nobody expects it.
    expectation = max(meta.offset, 1) if limit_ms else 0
    return replace(
        row, expectation=expectation, limit_ms=limit_ms, seen=-1, silent=False, changed_ms=meta.append_ms
    )


def _registered(state: State, event: DeviceRegistered, meta: "Meta") -> str:
    if fault := request_fault(state, event.request):
        return fault
    try:
        check_device(event.device)
    except ValueError as error:
        return str(error)
    name = event.device.device
    old = state.devices.get(name)
    row = DeviceRow(event.device, meta.append_ms) if old is None else replace(old, device=event.device)
    is_elsewhere = old is not None and old.device.topic != event.device.topic
    state.put("devices", name, _judge(state, row, meta, anew=is_elsewhere))
    remember(state, event.request, meta)
    return ""


def _retired(state: State, event: DeviceRetired, meta: "Meta") -> str:
    if fault := request_fault(state, event.request) or _unknown(state, event.device):
        return fault
    if apps := apps_bound_to(state, event.device):
        return f"{event.device} is bound to {apps[0]}"
    state.drop("devices", event.device)
    retire_commands(state, event.device)
    remember(state, event.request, meta)
    return ""


def _enabled(state: State, event: DeviceEnabled, meta: "Meta") -> str:
    if fault := request_fault(state, event.request) or _unknown(state, event.device):
        return fault
    row = replace(state.devices[event.device], enabled=event.enabled)
    state.put("devices", event.device, _judge(state, row, meta))
    remember(state, event.request, meta)
    return ""


def _limit_changed(state: State, event: SensorLimitChanged, meta: "Meta") -> str:
    """The rows of the sensors that it is about change with it: since when, and by which limit, they are judged."""
    if fault := request_fault(state, event.request):
        return fault
    try:
        check_type(event.type)
        check_limit(event.silence_limit_ms)
    except ValueError as error:
        return str(error)
    if fault := judged_fault(state, would_limit(state, event.type, event.silence_limit_ms)):
        return fault
    if event.silence_limit_ms:
        state.put("sensor_limits", event.type, SensorLimitRow(event.type, event.silence_limit_ms))
    else:
        state.drop("sensor_limits", event.type)
    for name, row in list(state.devices.items()):
        if row.device.type == event.type:
            state.put("devices", name, _judge(state, row, meta))
    remember(state, event.request, meta)
    return ""


def _bound(state: State, event: DeviceBound, meta: "Meta") -> str:
    if fault := request_fault(state, event.request) or _unknown(state, event.device):
        return fault
    try:
        check_index(event.index)
    except ValueError as error:
        return str(error)
    kind = state.devices[event.device].device.kind
    row = state.bindings.get(event.app, BindingRow(event.app))
    state.put("bindings", event.app, with_device(row, kind, event.index, event.device))
    remember(state, event.request, meta)
    return ""


def _unbound(state: State, event: DeviceUnbound, meta: "Meta") -> str:
    row = state.bindings.get(event.app)
    if fault := request_fault(state, event.request):
        return fault
    if row is None or str(event.index) not in row.of(event.kind):
        return f"{event.app} has no {event.kind} at {event.index}"
    state.put("bindings", event.app, with_device(row, event.kind, event.index, ""))
    remember(state, event.request, meta)
    return ""


def _unknown(state: State, device: str) -> str:
    return "" if device in state.devices else f"no device {device}"


def with_device(row: BindingRow, kind: DeviceKind, index: int, device: str) -> BindingRow:
    """The row with a device at an index, or with nothing there if `device` is empty."""
    bound = {key: name for key, name in row.of(kind).items() if key != str(index)}
    if device:
        bound[str(index)] = device
    bound = dict(sorted(bound.items(), key=lambda item: int(item[0])))
    return replace(row, sensors=bound) if kind == "sensor" else replace(row, controllers=bound)


DEVICE_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    DeviceRegistered: _registered,
    DeviceRetired: _retired,
    DeviceEnabled: _enabled,
    SensorLimitChanged: _limit_changed,
    DeviceBound: _bound,
    DeviceUnbound: _unbound,
}
