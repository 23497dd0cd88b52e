"""The lamp of the demo: what is asked for it. `examples/lamp/device.py` is its device. Pure."""

from __future__ import annotations

from typing import Final

from sdk.contract.devices import Device
from sdk.contract.requests import BindDevice, RegisterDevice, Request
from tables.state import State

LAMP: Final = "controller-lamp"
#: The app that has it at index 0, once somebody runs it: `examples/lamp/switch.py`.
SWITCH: Final = "application-switch"


def controller_wishes(state: State) -> dict[str, Request]:
    """The lamp and its binding, as far as the log lacks them, by name for people."""
    wishes: dict[str, Request] = {}
    if LAMP not in state.devices:
        wishes[LAMP] = RegisterDevice(Device(LAMP, "lamp", location="hall"))
    if SWITCH not in state.bindings:
        wishes[f"{LAMP} for {SWITCH}"] = BindDevice(SWITCH, 0, LAMP)
    return wishes
