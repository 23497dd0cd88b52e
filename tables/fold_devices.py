"""Fold of the registry: sensors, controllers, and which app has which. Pure; part of `tables.fold`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.devices import DeviceKind, check_device, check_index
from sdk.contract.events import (
    DeviceBound,
    DeviceEnabled,
    DeviceRegistered,
    DeviceRetired,
    DeviceUnbound,
    Event,
)
from tables.fold_commands import retire_commands
from tables.fold_requests import remember, request_fault
from tables.rows import BindingRow, DeviceRow
from tables.state import State

if TYPE_CHECKING:
    from tables.fold import Meta


def apps_bound_to(state: State, device: str) -> list[str]:
    """The apps that have a device, sorted."""
    return sorted(
        app
        for app, row in state.bindings.items()
        if device in row.sensors.values() or device in row.controllers.values()
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
    state.put("devices", name, row)
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
    state.put("devices", event.device, replace(state.devices[event.device], enabled=event.enabled))
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
    DeviceBound: _bound,
    DeviceUnbound: _unbound,
}
