"""What a checker found, and how two states or two orders are told apart."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sdk.contract.codec import DecodeError, Recorded, decode_event
from tables.fold import Meta
from tables.rows import Row
from tables.state import State
from tests.simulation.kafka import Record
from tests.simulation.log_rules import Said

if TYPE_CHECKING:
    from tests.simulation.machines import Node


class Violation(Exception):  # noqa: N818  # it is what was found, not an error of the program
    """Something that must hold did not."""

    def __init__(self, checker: str, text: str) -> None:
        super().__init__(f"{checker}: {text}")
        self.checker = checker


def rows_of(state: State) -> dict[tuple[str, str], Row]:
    """All rows, for comparing."""
    return {(table, key): row for table, key, row in state.all_rows()}


def plain(orders: object) -> object:
    """Orders without the offset they were computed at."""
    from msgspec.structs import replace

    return replace(orders, as_of=0)  # type: ignore[type-var]


def is_registered(node: "Node", registration: int) -> bool:
    """Whether the node's agent lives under this registration."""
    agent = node.agent
    return agent is not None and agent.state.is_registered and agent.state.registration == registration


def said_of(record: Record, decode: Callable[[bytes | None], Recorded] = decode_event) -> Said:
    """A record of the simulated log, decoded."""
    meta = Meta(record.offset, record.timestamp)
    try:
        return Said(decode(record.value), meta)
    except DecodeError as error:
        return Said(error, meta)


def first_difference(one: State, other: State) -> str:
    """The first row in which two states differ, for people."""
    left, right = rows_of(one), rows_of(other)
    key = next(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))
    return f"{key}: {left.get(key)} is not {right.get(key)}"
