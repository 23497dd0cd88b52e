"""The lamp of the demo: what is asked for it. `examples/lamp/device.py` is its device. Pure."""

from __future__ import annotations

from typing import Final

from sdk.contract.devices import Device
from sdk.contract.requests import BindDevice, RegisterDevice, Request
from tables.state import State

LAMP: Final = "controller-lamp-doors"
#: The apps that have it at index 0.
DOORS: Final = ("application-door-front", "application-door-back")


def controller_wishes(state: State) -> dict[str, Request]:
    """The lamp and its bindings, as far as the log lacks them, by their names for people."""
    wishes: dict[str, Request] = {}
    if LAMP not in state.devices:
        wishes[LAMP] = RegisterDevice(Device(LAMP, "lamp", location="doors"))
    for door in DOORS:
        if door not in state.bindings:
            wishes[f"{LAMP} for {door}"] = BindDevice(door, 0, LAMP)
    return wishes
