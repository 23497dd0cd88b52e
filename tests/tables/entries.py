"""Entries of a log and what a fold makes of them, for tests of the core. A test helper."""

import random
from typing import Any, NamedTuple

from sdk.contract import events as e
from sdk.contract.codec import Recorded
from tables.fold import Meta, Outcome, fold
from tables.rows import Row, decode_row, encode_row
from tables.state import Key, State
from tables.witness import Load


class FakeWitness:
    """Answers by seeded chance, the same each time it is asked the same; `certain` says yes to everything."""

    def __init__(self, seed: int = 0, *, certain: bool = True, band: e.Band | None = "calm") -> None:
        self._seed, self._certain, self._band = seed, certain, band
        self.loads: dict[str, Load] = {}

    def _says(self, *question: object) -> bool:
        return self._certain or random.Random(repr((self._seed, *question))).random() < 0.6

    def confirm_silence(self, source: str, epoch: int) -> e.Position | None:
        """Yes, or by chance unknown."""
        return e.Position(0, 1) if self._says("silence", source, epoch) else None

    def confirm_heard(self, node: str) -> e.Position | None:
        """Yes, or by chance unknown."""
        return e.Position(0, 2) if self._says("heard", node) else None

    def knows(self, node: str) -> bool:
        """Yes, or by chance not."""
        return self._says("knows", node)

    def measured_load(self, node: str) -> Load | None:
        """What the test has set."""
        return self.loads.get(node)

    def has_beaten(self, app: str, generation: int) -> bool | None:
        """No, or by chance unknown."""
        return False if self._says("beaten", app, generation) else None

    def has_hello(self, order: int) -> bool | None:
        """No, or by chance unknown."""
        return False if self._says("hello", order) else None

    def overdue_band(self) -> e.Band | None:
        """The band it was made with."""
        return self._band


class Entry(NamedTuple):
    """One record of a log."""

    offset: int
    append_ms: int
    event: e.Event


def record(event: e.Event, event_id: str = "id") -> Recorded:
    """The event as the codec hands it to the fold."""
    return Recorded(event_id, type(event).__name__, "", "writer", event)


def fold_entry(state: State, entry: Entry) -> Outcome:
    """Fold one record of a log."""
    return fold(state, record(entry.event), Meta(entry.offset, entry.append_ms))


def fold_all(entries: list[Entry], state: State | None = None) -> State:
    """The state after these records."""
    state = State() if state is None else state
    for entry in entries:
        fold_entry(state, entry)
    return state


def rows_of(state: State) -> dict[Key, bytes]:
    """Every row as it is saved; what two equal states share."""
    return {(table, key): encode_row(row) for table, key, row in state.all_rows()}


def indexes_of(state: State) -> dict[str, Any]:
    """Every index, without the empty sets that an index may keep."""
    return {
        "apps_of_node": {node: apps for node, apps in state.apps_of_node.items() if apps},
        "open_apps": state.open_apps,
        "open_nodes": state.open_nodes,
        "open_orders": state.open_orders,
        "bridged": state.bridged,
        "judged": state.judged,
        "node_of_order": state.node_of_order,
        "orders_of_pool": state.orders_of_pool,
        "order_places": state.order_places,
        "replacement": state.replacement,
        "grants_of_node": {node: grants for node, grants in state.grants_of_node.items() if grants},
        "waking": state.waking,
    }


def saved_and_loaded(state: State, rng: random.Random | None = None) -> State:
    """The state as it comes back from disk; with `rng`, rows in any order."""
    rows: list[tuple[str, str, Row]] = [
        (table, key, decode_row(table, encode_row(row))) for table, key, row in state.all_rows()
    ]
    if rng is not None:
        rng.shuffle(rows)
    loaded = State()
    loaded.load(rows, offset=state.offset, now_ms=state.now_ms)
    return loaded
