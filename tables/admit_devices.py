"""Admission of requests about sensors and controllers. Pure; part of `tables.admit`."""

from msgspec.structs import replace

from sdk.contract.devices import check_device, check_index, check_limit, check_type
from sdk.contract.events import (
    DeviceBound,
    DeviceEnabled,
    DeviceRegistered,
    DeviceRetired,
    DeviceUnbound,
    SensorLimitChanged,
)
from sdk.contract.ids import check_app
from sdk.contract.requests import (
    BindDevice,
    EnableDevice,
    LimitSensors,
    RegisterDevice,
    RetireDevice,
    UnbindDevice,
)
from tables.admit_commands import check_controller_topic
from tables.device_rows import DeviceRow
from tables.fold_devices import apps_bound_to, judged_fault, would_judge, would_limit
from tables.refusal import RefusalError
from tables.state import State


def register_device(state: State, request: str, wish: RegisterDevice) -> DeviceRegistered:
    """Anybody may register a device, or register it anew with other properties."""
    check_device(wish.device)
    if wish.device.kind == "controller" and wish.device.topic:
        check_controller_topic(state, wish.device)
    old = state.devices.get(wish.device.device)
    row = DeviceRow(wish.device, 0) if old is None else replace(old, device=wish.device)
    _check_judged(state, would_judge(state, row))
    return DeviceRegistered(request, wish.device)


def retire_device(state: State, request: str, wish: RetireDevice) -> DeviceRetired:
    """A device that an app has stays."""
    _check_device_known(state, wish.device)
    if apps := apps_bound_to(state, wish.device):
        raise RefusalError(f"{wish.device} is bound to {', '.join(apps[:5])}: unbind it first")
    return DeviceRetired(request, wish.device)


def enable_device(state: State, request: str, wish: EnableDevice) -> DeviceEnabled:
    """A device can be switched as often as somebody likes."""
    _check_device_known(state, wish.device)
    _check_judged(state, would_judge(state, replace(state.devices[wish.device], enabled=wish.enabled)))
    return DeviceEnabled(request, wish.device, wish.enabled)


def limit_sensors(state: State, request: str, wish: LimitSensors) -> SensorLimitChanged:
    """A type may have a limit before there is a sensor of it."""
    check_type(wish.type)
    check_limit(wish.silence_limit_ms)
    _check_judged(state, would_limit(state, wish.type, wish.silence_limit_ms))
    return SensorLimitChanged(request, wish.type, wish.silence_limit_ms)


def bind_device(state: State, request: str, wish: BindDevice) -> DeviceBound:
    """An app need not run, nor be known, to be given its devices."""
    check_app(wish.app)
    check_index(wish.index)
    _check_device_known(state, wish.device)
    return DeviceBound(request, wish.app, wish.index, wish.device)


def unbind_device(state: State, request: str, wish: UnbindDevice) -> DeviceUnbound:
    """Only what is bound can be taken away."""
    row = state.bindings.get(wish.app)
    if row is None or str(wish.index) not in row.of(wish.kind):
        raise RefusalError(f"{wish.app} has no {wish.kind} at index {wish.index}")
    return DeviceUnbound(request, wish.app, wish.index, wish.kind)


def _check_judged(state: State, judged: set[str]) -> None:
    if fault := judged_fault(state, judged):
        raise RefusalError(fault)


def _check_device_known(state: State, device: str) -> None:
    if device not in state.devices:
        raise RefusalError(f"no device {device!r:.80}")
