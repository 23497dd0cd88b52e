"""Admission of requests about sensors and controllers. Pure; part of `tables.admit`."""

from sdk.contract.devices import check_device, check_index
from sdk.contract.events import DeviceBound, DeviceEnabled, DeviceRegistered, DeviceRetired, DeviceUnbound
from sdk.contract.ids import check_app
from sdk.contract.requests import BindDevice, EnableDevice, RegisterDevice, RetireDevice, UnbindDevice
from tables.fold_devices import apps_bound_to
from tables.refusal import RefusalError
from tables.state import State


def register_device(_state: State, request: str, wish: RegisterDevice) -> DeviceRegistered:
    """Anybody may register a device, or register it anew with other properties."""
    check_device(wish.device)
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
    return DeviceEnabled(request, wish.device, wish.enabled)


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


def _check_device_known(state: State, device: str) -> None:
    if device not in state.devices:
        raise RefusalError(f"no device {device!r:.80}")
