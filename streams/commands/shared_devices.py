"""What commands about devices share: completing a short name, finding one, asking for something. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.commands import NOT_FOUND, CommandError
from streams.commands.shared import run

if TYPE_CHECKING:
    from sdk.contract.devices import DeviceKind
    from sdk.contract.requests import Request
    from streams.settings import Settings
    from tables.device_rows import DeviceRow
    from tables.state import State

#: How long the answer to a request about a device may take, s: a change of leader on a foreign broker (9 s) and some.
ANSWER_WITHIN_S = 15.0


def device_of(name: str, kind: DeviceKind) -> str:
    """The id of a device, which may be given without its kind."""
    from sdk.contract.ids import complete_id

    return complete_id(name, (kind,))


def find_device(state: State, name: str, kind: DeviceKind) -> DeviceRow:
    """The row of a device.

    Raises:
        CommandError: the log knows no such device.
    """
    row = state.devices.get(device_of(name, kind))
    if row is None:
        words = f"No {kind} {device_of(name, kind)!r:.80}; `python cli.py {kind}s list` shows all."
        raise CommandError(words, NOT_FOUND)
    return row


def ask_for(settings: Settings, request: Request, timeout_s: float) -> None:
    """Ask, and wait for the answer.

    Raises:
        CommandError: it was refused, nobody answered, or Kafka cannot be reached.
    """
    from streams.asking import ask

    run(ask(settings.bootstrap, settings.prefix, request, timeout_s=timeout_s))
