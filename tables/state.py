"""The state: all tables, the indexes over them, and the keys that changed. Pure.

Rules:
1. Rows change through `State.put` and `State.drop` only, which keep every index true; an index is never stored.
2. `State.offset` is the last record folded; rows and offset are always saved together.
3. `changed` collects (table, key) for whoever saves, publishes or decides; each takes and clears its own set.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any, ClassVar

from sdk.contract.orders import AppOrder
from sdk.contract.specs import needed_services
from tables.device_rows import CommandRow, DeviceRow
from tables.room import NOTHING, Need, need_of, need_of_grant, placed_spec_of, runs_once, stays
from tables.rows import TABLES, AppRow, GrantRow, NodeRow, OrderRow, Row, SourceRow
from tables.tables import Tables
from tables.tally import Tally

Key = tuple[str, str]
#: Tables whose rows are ever forgotten.
FORGETTABLE = (
    "requests",
    "sources",
    "grants",
    "pauses",
    "devices",
    "sensor_limits",
    "commands",
    "notifications",
    "speakers",
)
#: A node and its lineage: what room is taken under.
Home = tuple[str, int]


class State(Tables):
    """Tables, indexes and position of one fold of the log."""

    def __init__(self) -> None:
        super().__init__()
        #: Offset of the last record folded, -1 before the first.
        self.offset = -1
        #: Largest append time folded, ms UTC: the only time the fold knows.
        self.now_ms = 0
        #: Everything that changed since somebody cleared it, one set per listener.
        self.listeners: list[set[Key]] = []
        self.apps_of_node: dict[str, set[str]] = {}
        #: Room that copies take, by the node and lineage they were placed under.
        self.taken: dict[Home, Need] = {}
        #: Group -> node and lineage -> copies that take room there.
        self.copies: dict[str, dict[Home, int]] = {}
        self._open_apps: set[str] = set()
        #: Apps whose rows, or what they rest on, changed since somebody asked for the open ones: who folds a long log
        #: asks at its end.
        self._unsettled: set[str] = set()
        #: Service -> apps whose specs need it, known to the log or not.
        self.dependants: dict[str, set[str]] = {}
        #: Nodes that a decision may be due about: silent, draining, failed before, gone in the eyes of their provider.
        self.open_nodes: set[str] = set()
        #: How many nodes each pool has and awaits.
        self.tally = Tally()
        #: Pool -> its nodes whose registration is in force; all the others are history.
        self.live_nodes: dict[str, set[str]] = {}
        #: Orders that may still bring a node.
        self.open_orders: set[int] = set()
        self.node_of_order: dict[int, str] = {}
        #: App -> the order made of its row and the row: most neighbours have not changed when orders are asked for.
        self.app_orders: dict[str, tuple[AppRow, AppOrder]] = {}
        self.orders_of_pool: dict[str, set[int]] = {}
        #: Pool, `based_on` and `place` of every order that names its place.
        self.order_places: set[tuple[str, int, int]] = set()
        #: Dead node and its lineage -> latest order that replaces it.
        self.replacement: dict[tuple[str, int], int] = {}
        #: Node -> grants that room is kept for there.
        self.grants_of_node: dict[str, set[str]] = {}
        #: Lone sources that a bridge reads a topic for.
        self.bridged: set[str] = set()
        #: Controller -> its commands, oldest first.
        self.commands_of: dict[str, list[str]] = {}
        #: Sensors whose silence is judged: a bridge reads their topics too.
        self.judged: set[str] = set()
        #: Rows with a wake that has not fired.
        self.waking: set[Key] = set()

    # --- rows ---------------------------------------------------------------------------------------

    def put(self, table: str, key: str, row: Row) -> None:
        """Set a row and keep the indexes true."""
        rows = self.tables[table]
        old = rows.get(key)
        if old == row:
            return
        rows[key] = row
        index = self._INDEXES.get(type(row))
        if index is not None:
            index(self, key, old, row)
        if type(row) in _WITH_WAKES:
            self._index_wake(table, key, old, row)
        changed = [(table, key)]
        if isinstance(row, AppRow) and isinstance(old, AppRow) and not stays(old, row):
            # It names the nodes it is on now only, and the orders of the one it left differ too.
            changed += [("nodes", node) for node in nodes_of(old) - nodes_of(row)]
        for listener in self.listeners:
            listener.update(changed)

    def drop(self, table: str, key: str) -> None:
        """Remove a row of a table whose rows are ever forgotten."""
        assert table in FORGETTABLE
        row = self.tables[table].pop(key, None)
        if row is not None:
            self.waking.discard((table, key))
            if table == "sources":
                self.bridged.discard(key)
            elif table == "devices":
                self.judged.discard(key)
            if isinstance(row, GrantRow):
                self._index_grant(key, row, None)
            elif isinstance(row, SourceRow):
                self._reopen_dependants(key)
            elif isinstance(row, CommandRow):
                self.commands_of[row.controller].remove(key)
            for listener in self.listeners:
                listener.add((table, key))

    def load(self, rows: Iterable[tuple[str, str, Row]], *, offset: int, now_ms: int) -> None:
        """Fill an empty state from saved rows."""
        assert self.offset == -1
        # Requests are forgotten oldest first, by their place in the table: disk gives them in another order.
        for table, key, row in sorted(rows, key=lambda each: getattr(each[2], "offset", -1)):
            self.put(table, key, row)
        self.offset, self.now_ms = offset, now_ms

    def listen(self) -> set[Key]:
        """A new set that collects what changes from now on."""
        self.listeners.append(set())
        return self.listeners[-1]

    def all_rows(self) -> Iterator[tuple[str, str, Row]]:
        """Every row with its table and key."""
        for table, rows in self.tables.items():
            for key, row in rows.items():
                yield table, key, row

    # --- indexes ------------------------------------------------------------------------------------

    @property
    def open_apps(self) -> set[str]:
        """Apps that a decision may be due about: all but those that run undisturbed or are stopped for good."""
        for key in self._unsettled:
            (self._open_apps.discard if is_at_rest(self, self.apps[key]) else self._open_apps.add)(key)
        self._unsettled.clear()
        return self._open_apps

    def _index_wake(self, table: str, key: str, old: Any, row: Any) -> None:
        wake = row.wake
        if old is not None and old.wake is wake:
            return
        if wake is not None and not wake.fired:
            self.waking.add((table, key))
        else:
            self.waking.discard((table, key))

    def _index_device(self, key: str, _old: DeviceRow | None, row: DeviceRow) -> None:
        (self.judged.add if row.expectation else self.judged.discard)(key)

    def _index_source(self, key: str, _old: SourceRow | None, row: SourceRow) -> None:
        if row.topic:
            self.bridged.add(key)
        self._reopen_dependants(key)

    def _index_command(self, key: str, old: CommandRow | None, row: CommandRow) -> None:
        if old is None:
            self.commands_of.setdefault(row.controller, []).append(key)

    def _index_node(self, key: str, _old: NodeRow | None, row: NodeRow) -> None:
        self.node_of_order[row.order] = key
        self.open_orders.discard(row.order)
        self.tally.close(row.order)
        self.tally.node(row)
        live = self.live_nodes.setdefault(row.pool, set())
        if row.status == "active":
            live.add(key)
        else:
            live.discard(key)
        self._open_or_close_node(row)
        self._reopen_apps_of(key)

    def _index_order(self, _key: str, _old: OrderRow | None, row: OrderRow) -> None:
        self.orders_of_pool.setdefault(row.pool, set()).add(row.order)
        if row.place:
            self.order_places.add((row.pool, row.based_on, row.place))
        node = self.node_of_order.get(row.order)
        if node is not None:
            self._open_or_close_node(self.nodes[node])
        else:
            is_open = is_order_open(self, row)
            (self.open_orders.add if is_open else self.open_orders.discard)(row.order)
            self.tally.order(row, is_open=is_open)
        dead = (row.replaces, row.replaces_lineage)
        if row.replaces:
            latest = self.orders.get(str(self.replacement.get(dead, row.order)))
            if latest is None or latest.serves_from <= row.serves_from:
                self.replacement[dead] = row.order

    def _index_grant(self, key: str, old: GrantRow | None, row: GrantRow | None) -> None:
        if old is not None and old.node:
            self.grants_of_node[old.node].discard(key)
            self._occupy((old.node, old.lineage), need_of_grant(old), "", sign=-1)
        if row is not None and row.node:
            self.grants_of_node.setdefault(row.node, set()).add(key)
            self._occupy((row.node, row.lineage), need_of_grant(row), "", sign=1)

    def _index_app(self, key: str, old: AppRow | None, row: AppRow) -> None:
        # Most events change neither where copies are nor what they take: those indexes are left alone then.
        if old is None or not stays(old, row):
            were, are = nodes_of(old) if old is not None else set(), nodes_of(row)
            for node in were - are:
                self.apps_of_node[node].discard(key)
            for node in are - were:
                self.apps_of_node.setdefault(node, set()).add(key)
        held, holds = old is not None and holds_slot(old), holds_slot(row)
        if (
            held != holds
            or old is None
            or old.standby is not row.standby
            or (
                holds
                and (
                    old.node != row.node
                    or old.lineage != row.lineage
                    or placed_spec_of(old) is not placed_spec_of(row)
                )
            )
        ):
            before = _occupancy(old) if old is not None else []
            after = _occupancy(row)
            if before != after:
                for each in before:
                    self._occupy(*each, sign=-1)
                for each in after:
                    self._occupy(*each, sign=1)
        if old is None or old.spec is not row.spec:
            self._index_needs(key, old, row)
        self._unsettled.add(key)
        if key in self.dependants:
            self._unsettled |= self.dependants[key]

    def _index_needs(self, key: str, old: AppRow | None, row: AppRow) -> None:
        for service in needed_services(old.spec) if old is not None else ():
            self.dependants[service].discard(key)
            if not self.dependants[service]:
                del self.dependants[service]
        for service in needed_services(row.spec):
            self.dependants.setdefault(service, set()).add(key)

    def _reopen_dependants(self, service: str) -> None:
        """What a service can be waited for may have changed: those who wait are looked at, and nobody else."""
        self._unsettled.update(self.dependants.get(service, ()))

    def _occupy(self, home: Home, need: Need, group: str, *, sign: int) -> None:
        """Count room and copies of a group in (1) or out (-1)."""
        taken = self.taken.get(home, NOTHING)
        taken = taken.plus(need) if sign > 0 else taken.minus(need)
        if taken == NOTHING:
            self.taken.pop(home, None)
        else:
            self.taken[home] = taken
        if group:
            copies = self.copies.setdefault(group, {})
            copies[home] = copies.get(home, 0) + sign
            if not copies[home]:
                del copies[home]
            if not copies:
                del self.copies[group]

    def _open_or_close_node(self, row: NodeRow) -> None:
        order = self.orders.get(str(row.order))
        gone = order is not None and order.ended
        judged = row.silent or row.draining or gone or row.quarantined or row.recent_failures
        if row.status == "active" and judged:
            self.open_nodes.add(row.node)
        else:
            self.open_nodes.discard(row.node)

    def _reopen_apps_of(self, node: str) -> None:
        for app in self.apps_of_node.get(node, ()):
            self._unsettled.add(app)
            self._reopen_dependants(app)

    #: Type of a row -> the index over its table: found at once, where asking one type after the other costs most.
    _INDEXES: ClassVar[dict[type, Callable[["State", str, Any, Any], None]]] = {
        AppRow: _index_app,
        NodeRow: _index_node,
        OrderRow: _index_order,
        DeviceRow: _index_device,
        GrantRow: _index_grant,
        SourceRow: _index_source,
        CommandRow: _index_command,
    }


#: Types of rows that may ask for a time.
_WITH_WAKES = frozenset(kind for kind in TABLES.values() if "wake" in kind.__struct_fields__)


def is_hosted(state: State, app: AppRow) -> bool:
    """Whether the generation in force sits on a node whose lineage is unbroken."""
    node = state.nodes.get(app.node)
    return node is not None and node.status == "active" and node.lineage == app.lineage


def holds_slot(app: AppRow) -> bool:
    """Whether the generation in force takes room on its node."""
    return app.phase in ("placed", "running", "condemned")


def is_at_rest(state: State, app: AppRow) -> bool:
    """Whether no decision can be due about the app until one of its rows changes."""
    if (app.gave_up or (not app.wanted and not is_hosted(state, app))) and app.standby is None:
        return True
    if app.standby is not None:
        return False
    if app.phase == "running":
        undisturbed = app.wanted and not app.silent and not app.restarting and is_hosted(state, app)
        return undisturbed and not wants_away(state, app)
    if app.phase == "pending" and app.wanted and app.pending_reason:
        # It has said what it waits for, and is looked at again when one of these services changes.
        return app.pending_reason == waiting_words(state, app)
    return app.phase in ("stopped", "finished") or (not app.wanted and app.phase in ("pending", "ended"))


def is_source_alive(row: SourceRow) -> bool:
    """Whether a lone source beats; one that is expected and was not heard yet does not."""
    return not row.silent and row.seen >= 0


def is_service_up(state: State, service: str) -> bool:
    """Whether a service runs, undisturbed as far as the log knows, and is to go on; a lone one, whether it beats."""
    row = state.apps.get(service)
    if row is None:
        lone = state.sources.get(service)
        return lone is not None and is_source_alive(lone)
    if not row.wanted or row.restarting:
        return False
    return row.phase == "running" and not row.silent and is_hosted(state, row)


def unmet_needs(state: State, app: AppRow, *, leaving: Container[str] = ()) -> list[str]:
    """Services that the app needs and that do not run, or only on nodes that are `leaving`."""
    return [
        service
        for service in needed_services(app.spec)
        if not is_service_up(state, service)
        or (service in state.apps and state.apps[service].node in leaving)
    ]


def waiting_words(state: State, app: AppRow, *, leaving: Container[str] = ()) -> str:
    """What the app has to wait for before a copy may be placed; empty if for nothing."""
    if not app.spec.needs_services:
        return ""
    unmet = unmet_needs(state, app, leaving=leaving)
    known = (state.apps, state.sources)
    words = [each if any(each in rows for rows in known) else f"{each} (unknown)" for each in unmet]
    return f"waits for {', '.join(words)}" if words else ""


def nodes_of(app: AppRow) -> set[str]:
    """The node of the generation in force, and that of the copy being made ready."""
    nodes = {app.node, app.standby.node if app.standby is not None else ""}
    return nodes - {""}


def _occupancy(app: AppRow) -> list[tuple[Home, Need, str]]:
    """Where copies of the app take room, how much, and for which group."""
    found = []
    if holds_slot(app):
        spec = placed_spec_of(app)
        found.append(((app.node, app.lineage), need_of(spec), spec.group))
    if app.standby is not None:
        standby = app.standby
        found.append(((standby.node, standby.lineage), need_of(standby.spec), standby.spec.group))
    return found


def wants_away(state: State, app: AppRow) -> bool:
    """Whether the copy in force, which runs undisturbed, is to give way to one on another node, ready first."""
    if not (app.wanted and app.phase == "running" and not app.restarting and not app.silent):
        return False
    if runs_once(app):
        return False
    node = state.nodes[app.node]
    return (app.moving or node.emptying) and not node.draining and not node.forced


def is_order_open(state: State, order: OrderRow) -> bool:
    """Whether the order may still bring a node: neither ended nor withdrawn, and nobody registered under it."""
    return not order.ended and not order.withdrawn and order.order not in state.node_of_order
