"""Admission of commands to controllers. Pure; part of `tables.admit`."""

from sdk.contract.controllers import check_for_ms, check_value
from sdk.contract.devices import Device, check_index
from sdk.contract.events import ControllerSetRequested
from sdk.contract.requests import SetController
from sdk.contract.topics import check_beats_topic
from tables.commands import asker_fault, index_fault
from tables.fold_commands import malformed_fault, off_fault
from tables.state import State


class CommandRefusalError(ValueError):
    """A command that cannot be given; the text is for the asker."""


def set_controller(state: State, request: str, wish: SetController) -> ControllerSetRequested:
    """An app may set what is bound to it, in its generation in force; a person, by its id, any controller."""
    check_value(wish.value)
    check_for_ms(wish.for_ms)
    controller = wish.controller
    if not controller:
        check_index(wish.index)
        if not wish.app:
            raise CommandRefusalError("app: name one, or the controller by its id")
        if fault := index_fault(state, wish.app, wish.index):
            raise CommandRefusalError(fault)
        controller = state.bindings[wish.app].controllers[str(wish.index)]
    event = ControllerSetRequested(
        request, controller, wish.value, wish.for_ms, wish.app, wish.generation, wish.sent_at_ms
    )
    fault = malformed_fault(state, event) or asker_fault(state, wish.app, wish.generation, controller)
    if fault := fault or off_fault(state, controller):
        raise CommandRefusalError(fault)
    return event


def check_controller_topic(state: State, device: Device) -> None:
    """Raise ValueError unless the leader may write what is desired of this controller into the topic it names."""
    check_beats_topic(device.topic, what="topic")
    for name, row in sorted(state.devices.items()):
        if name != device.device and row.device.topic == device.topic:
            raise CommandRefusalError(
                f"topic: {device.topic} is that of {name}; a controller has one of its own"
            )
