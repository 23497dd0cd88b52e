"""The published view: which state topic each row goes to, and how it is written. Pure.

A view row is `{"as_of": N, "table": ..., "row": {...}}`: the fold's row as of offset N of the log. All tables are
published whole, so that a reader can go on folding from them, but two: `counters` change with every record, and
`requests` are one row each for 14 days; they matter to who admits, and who admits folds the log. `monitoring` is
made for people and programs that only ask who is alive, and is not read back into a state.

`progress` (key `progress` of the platform table) says that every row is at least as new as its offset.
"""

from typing import cast

import msgspec

from tables.device_rows import DeviceRow
from tables.questions import taken_on
from tables.rows import TABLES, AppRow, NodeRow, PoolRow, Row, SourceRow
from tables.state import State, is_hosted, is_source_alive

#: Fold tables with a state topic of their own; all others share `platform`.
_OWN = {"nodes": "nodes", "apps": "apps", "notifications": "notifications"}
_UNPUBLISHED = {"counters", "requests"}

PROGRESS_KEY = "progress"


class ViewKey(msgspec.Struct, frozen=True):
    """Where a view row stands: Faust table and key."""

    table: str
    key: str


class Monitored(msgspec.Struct, frozen=True):
    """A row of the monitoring table: the mission's status 0/1 and failure count."""

    source: str
    kind: str
    #: 1 while it is alive as far as the log knows.
    status: int
    failure_count: int
    since_ms: int
    node: str = ""


class ViewRow(msgspec.Struct, frozen=True):
    """A view row on the wire."""

    as_of: int
    table: str
    row: msgspec.Raw


class Progress(msgspec.Struct, frozen=True):
    """How far the view is complete: every row is at least as new as this offset."""

    as_of: int
    table: str = "progress"


_encode = msgspec.json.Encoder().encode
_decode_view = msgspec.json.Decoder(ViewRow).decode
_decode_progress = msgspec.json.Decoder(Progress).decode


def view_keys(state: State, table: str, key: str) -> list[ViewKey]:
    """The view rows that a row of the fold shows in: its own, and the monitoring rows that depend on it."""
    if table in _UNPUBLISHED:
        return []
    own = _OWN.get(table)
    keys = [ViewKey(own, key)] if own else [ViewKey("platform", f"{table}/{key}")]
    if table in ("nodes", "apps", "sources", "pools", "devices"):
        keys.append(ViewKey("monitoring", key))
    if table == "nodes":
        keys += [ViewKey("monitoring", app) for app in sorted(state.apps_of_node.get(key, ()))]
    return keys


def render(state: State, view: ViewKey) -> bytes | None:
    """The view row as of `state.offset`; None if there is none (any more)."""
    if view.table == "monitoring":
        monitored = monitor(state, view.key)
        return None if monitored is None else _wrap(state.offset, "monitoring", _encode(monitored))
    table, key = split_key(view)
    row = state.tables.get(table, {}).get(key)
    return None if row is None else _wrap(state.offset, table, _encode(row))


def _wrap(as_of: int, table: str, row: bytes) -> bytes:
    return _encode(ViewRow(as_of, table, msgspec.Raw(row)))


def split_key(view: ViewKey) -> tuple[str, str]:
    """The fold's table and key behind a view row that is not of `monitoring`."""
    if view.table == "platform":
        table, _, key = view.key.partition("/")
        return table, key
    return view.table, view.key


def content_of(value: bytes) -> tuple[int, bytes]:
    """`as_of` of a view row and the rest, for comparing.

    Raises:
        msgspec.MsgspecError: it is no view row.
    """
    view = _decode_view(value)
    return view.as_of, bytes(view.row)


def decode_view(value: bytes) -> tuple[int, str, Row] | None:
    """`as_of`, table and row of the fold in a view row; None for `monitoring`.

    Raises:
        msgspec.MsgspecError: it is no view row.
    """
    view = _decode_view(value)
    if view.table == "monitoring":
        return None
    kind = TABLES.get(view.table)
    if kind is None:
        raise msgspec.ValidationError(f"unknown table {view.table!r:.40}")
    return view.as_of, view.table, cast("Row", msgspec.json.decode(view.row, type=kind))


def encode_progress(as_of: int) -> bytes:
    """The progress row."""
    return _encode(Progress(as_of))


def decode_progress(value: bytes) -> int:
    """The offset in a progress row; raises msgspec.MsgspecError if it is none."""
    return _decode_progress(value).as_of


def all_views(state: State) -> dict[ViewKey, bytes]:
    """Every view row as of `state.offset`."""
    rows: dict[ViewKey, bytes] = {}
    for table, key, _ in state.all_rows():
        for view in view_keys(state, table, key):
            value = render(state, view)
            if value is not None:
                rows[view] = value
    return rows


def monitor(state: State, source: str) -> Monitored | None:
    """The monitoring row of a source."""
    for rows in (state.nodes, state.apps, state.pools, state.sources):
        row = rows.get(source)
        if row is not None:
            return _monitored(state, source, row)
    sensor = state.devices.get(source)
    if sensor is None or not sensor.expectation:
        return None
    return Monitored(
        source, "sensor", int(operating_state(sensor) == "working"), sensor.failures, sensor.changed_ms
    )


def _monitored(state: State, source: str, row: NodeRow | AppRow | PoolRow | SourceRow) -> Monitored:
    match row:
        case NodeRow():
            alive = row.status == "active" and not row.silent
            return Monitored(source, "node", int(alive), row.failures, row.since_ms)
        case AppRow():
            kind = "service" if source.startswith("service-") else "application"
            return Monitored(
                source, kind, int(is_app_alive(state, row)), row.failures, row.since_ms, row.node
            )
        case PoolRow():
            return Monitored(source, "pool", int(row.registration > 0 and not row.silent), row.failures, 0)
        case SourceRow():
            return Monitored(source, row.kind, int(is_source_alive(row)), row.failures, row.since_ms)


def operating_state(row: DeviceRow) -> str:
    """What is known of a sensor's work: `working`, `silent`, or `unknown` if it is not judged or was not heard yet."""
    if row.silent:
        return "silent"
    return "working" if row.expectation and row.seen >= 0 else "unknown"


def is_app_alive(state: State, row: AppRow) -> bool:
    """Whether the generation in force beats, on a node whose registration is in force."""
    return row.phase == "running" and not row.silent and is_hosted(state, row)


def app_status(state: State, row: AppRow) -> str:
    """An app's status in one word for people."""
    if row.gave_up:
        return "gave-up"
    if row.phase == "finished":
        return "finished"
    if not row.wanted:
        return (
            "stopping"
            if row.phase in ("placed", "running", "condemned") and is_hosted(state, row)
            else "stopped"
        )
    if row.phase in ("placed", "running", "condemned") and not is_hosted(state, row):
        return "lost"
    if row.phase == "running" and row.silent:
        return "silent"
    if row.phase == "ended":
        return "backing-off" if row.wake is not None and not row.wake.fired else "pending"
    return {"placed": "starting", "condemned": "failed"}.get(row.phase, row.phase)


def node_status(state: State, row: NodeRow) -> str:
    """A node's status in one word for people."""
    if row.status != "active":
        return row.status
    if row.draining:
        return "draining"
    if row.silent:
        return "silent"
    if row.quarantined:
        return "quarantined"
    if row.spare and not row.cordoned:
        return "spare"
    if row.emptying and taken_on(state, row.node).slots:
        return "emptying"
    return "cordoned" if row.cordoned else "active"
