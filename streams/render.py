"""How state looks to people and programs: tables, JSON, names, times and durations. Pure.

Plain text by hand: rich takes longer to import than Kafka takes to answer, so it is used only for what moves.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from sdk.contract.running import HttpCheck
from sdk.contract.specs import PRIORITY_DEFAULT, AppSpec, needed_services
from tables.questions import used_slots
from tables.registries import watched_services
from tables.room import need_of
from tables.rows import AppRow, NodeRow, OrderRow
from tables.state import State, is_hosted, is_order_open
from tables.views import Monitored, app_status, monitor, node_status

_MINUTE_S = 60
_HOUR_S = 3_600
_DAY_S = 86_400

#: Words that ask for attention, and their colour.
_COLOURS = {
    "active": "green",
    "free": "green",
    "finished": "green",
    "running": "green",
    "ok": "green",
    "Active": "green",
    "working": "green",
    "disabled": "yellow",
    "starting": "yellow",
    "provisioning": "yellow",
    "draining": "yellow",
    "spare": "green",
    "degraded": "red",
    "cordoned": "yellow",
    "emptying": "yellow",
    "quarantined": "red",
    "stopping": "yellow",
    "pending": "yellow",
    "backing-off": "yellow",
    "silent": "red",
    "lost": "red",
    "failed": "red",
    "gave-up": "red",
    "down": "red",
    "Inactive": "red",
}


def duration(ms: int) -> str:
    """A duration as a person says it, two units at most: 350 ms, 12.5 s, 3 min 20 s, 5 h 2 min, 3 d 4 h."""
    if ms < 0:
        return "0 s"
    if ms < 1_000:  # noqa: PLR2004  # a second
        return f"{ms} ms"
    seconds = ms // 1_000
    if seconds < _MINUTE_S:
        return f"{ms // 100 / 10:.1f}".removesuffix(".0") + " s"
    for unit_s, name, part_s, part in (
        (_HOUR_S, "min", 1, "s"),
        (_DAY_S, "h", _MINUTE_S, "min"),
        (0, "d", _HOUR_S, "h"),
    ):
        if not unit_s or seconds < unit_s:
            whole_s = {"min": _MINUTE_S, "h": _HOUR_S, "d": _DAY_S}[name]
            whole, rest = divmod(seconds, whole_s)
            rest //= part_s
            return f"{whole} {name}" + (f" {rest} {part}" if rest else "")
    raise AssertionError("unreachable: the last unit has no bound")


def clock(at_ms: int, *, now_ms: int | None = None) -> str:
    """Local time of day; with the date if it is not of the day of `now_ms`."""
    at = datetime.fromtimestamp(at_ms / 1_000, UTC).astimezone()
    if now_ms is not None and datetime.fromtimestamp(now_ms / 1_000, UTC).astimezone().date() != at.date():
        return f"{at:%Y-%m-%d %H:%M:%S}"
    return f"{at:%H:%M:%S}"


def stamp(at_ms: int) -> str:
    """Local date and time with milliseconds."""
    at = datetime.fromtimestamp(at_ms / 1_000, UTC).astimezone()
    return f"{at:%Y-%m-%d %H:%M:%S}.{at_ms % 1_000:03d}"


def coloured(word: str) -> str:
    """A status word in its colour; click strips colours where there is no terminal."""
    return click.style(word, fg=_COLOURS.get(word))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell, the last one cut at the terminal's edge."""
    cells = [[header.upper() for header in headers], *[list(row) for row in rows]]
    widths = [max(len(click.unstyle(row[at])) for row in cells) for at in range(len(headers))]
    room = shutil.get_terminal_size((120, 24)).columns
    return "\n".join(_line(row, widths, room) for row in cells)


def _line(row: Sequence[str], widths: Sequence[int], room: int) -> str:
    *head, last = row
    padded = [
        cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(head, widths, strict=False)
    ]
    left = room - sum(widths[:-1]) - 2 * len(head)
    if len(click.unstyle(last)) > max(left, 20):
        last = last[: max(left, 20) - 1] + "…"
    return "  ".join([*padded, last]).rstrip()


def to_json(value: Any) -> str:
    """The value as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


# --- rows ----------------------------------------------------------------------------------------------


def node_view(state: State, row: NodeRow) -> dict[str, Any]:
    """A node as the Node DB of the mission has it."""
    hosted = (state.apps[app] for app in sorted(state.apps_of_node.get(row.node, ())))
    apps = [app.app for app in hosted if app.node == row.node and is_here(state, app)]
    active = row.status == "active"
    used = used_slots(state, row.node) if active else 0
    return {
        "node": row.node,
        "status": node_status(state, row),
        "spare": row.spare,
        "pool": row.pool,
        "ip": row.ip,
        "port": row.port,
        "slots": row.slots,
        "slots_used": used,
        "occupancy": ""
        if not active
        else "free"
        if not used
        else "occupied"
        if used >= row.slots
        else "in use",
        "registration": row.registration,
        "since_ms": row.since_ms,
        "failure_count": row.failures,
        "down_reason": row.down_reason,
        "drivers": row.drivers,
        "limits": row.limits,
        "cpu_percent": row.cpu_percent,
        "memory_mib": row.memory_mib,
        "cordoned": row.cordoned,
        "quarantined_until_ms": row.wake.due_at_ms if row.quarantined and row.wake is not None else 0,
        "apps": [{"app": app, "status": app_status(state, state.apps[app])} for app in apps],
    }


def is_here(state: State, app: AppRow) -> bool:
    """Whether a copy of the app is, or was last and shall be again, on the node its row names."""
    return is_hosted(state, app) and app.phase not in ("pending", "finished", "stopped")


def ordered_view(order: OrderRow) -> dict[str, Any]:
    """A node that is being created."""
    return {
        "node": f"(order {order.order})",
        "status": "provisioning",
        "spare": order.spare,
        "pool": order.pool,
        "ip": "",
        "port": 0,
        "slots": order.slots,
        "slots_used": 0,
        "occupancy": "",
        "registration": 0,
        "since_ms": order.ordered_at_ms,
        "failure_count": 0,
        "down_reason": "",
        "drivers": [],
        "limits": "",
        "cpu_percent": 0,
        "memory_mib": 0,
        "cordoned": False,
        "quarantined_until_ms": 0,
        "apps": [],
    }


def node_views(state: State, *, gone: bool) -> list[dict[str, Any]]:
    """Nodes that serve or are being created, oldest first; with `gone` also those that are down or left."""
    rows = sorted(state.nodes.values(), key=lambda row: row.order)
    known = [node_view(state, row) for row in rows if gone or row.status == "active"]
    open_orders = [order for order in state.orders.values() if is_order_open(state, order)]
    return known + [ordered_view(order) for order in sorted(open_orders, key=lambda order: order.order)]


def app_view(state: State, row: AppRow) -> dict[str, Any]:
    """An app for people and programs."""
    monitored = monitor(state, row.app)
    return {
        "app": row.app,
        "status": app_status(state, row),
        "alive": monitored.status if monitored is not None else 0,
        "wanted": row.wanted,
        "node": row.node if is_here(state, row) else "",
        "generation": row.generation,
        "since_ms": row.since_ms,
        "failure_count": row.failures,
        "reason": row.pending_reason or row.end_reason,
        "detail": row.end_detail,
        "exit_code": row.exit_code,
        "command": row.spec.command,
        "priority": row.spec.priority,
        "needs": need_of(row.spec).words(),
        "wishes": spec_wishes(row.spec),
        "needs_services": needed_services(row.spec),
        "restart": row.spec.restart,
        "watched": spec_watch(row.spec),
        "limits": spec_limits(row.spec),
        "limits_by": _limits_by(state, row),
        "moving_to": row.standby.node if row.standby is not None else row.move_to,
        "fell_out": row.fell_out,
    }


def spec_wishes(spec: AppSpec) -> str:
    """Where an app wants to be, and how urgently, in one line; empty if it said nothing."""
    words = [str(constraint) for constraint in spec.constraints]
    if spec.group:
        words.append(f"group {spec.group}" + ("" if spec.spread else " together"))
    if spec.affinity:
        words.append(f"near {spec.affinity}")
    if spec.priority != PRIORITY_DEFAULT:
        words.append(f"priority {spec.priority}")
    return ", ".join(words)


def spec_watch(spec: AppSpec) -> str:
    """What its beats are and when it counts as started, if not by its own beat; else empty."""
    words = []
    if spec.heartbeat == "process":
        words.append("its process lives")
    elif spec.http is not None:
        words.append(f"{_page(spec.http)} answers")
    if spec.readiness is not None:
        words.append(f"starts when {_page(spec.readiness)} answers")
    return ", ".join(words)


def _page(check: HttpCheck) -> str:
    return f"http :{check.port or '$WATCHKEEP_PORT'}{check.path}"


def spec_limits(spec: AppSpec) -> str:
    """The most it gets of memory and processor; empty without limits."""
    docker = spec.docker
    memory_mib = spec.memory_limit_mib or (docker.memory_mib if docker is not None else 0)
    cpu_percent = spec.cpu_limit_percent or (docker.cpu_percent if docker is not None else 0)
    words = [f"{memory_mib} MiB"] if memory_mib else []
    words += [f"{cpu_percent / 100:g} cores"] if cpu_percent else []
    return ", ".join(words)


def _limits_by(state: State, row: AppRow) -> str:
    """How its node keeps it within its limits."""
    if not spec_limits(row.spec) or not is_here(state, row) or row.node not in state.nodes:
        return ""
    return "docker" if row.spec.driver == "docker" else state.nodes[row.node].limits


def app_views(state: State, *, stopped: bool) -> list[dict[str, Any]]:
    """Apps that are wanted or still run, by name; with `stopped` all of them."""
    views = [app_view(state, row) for _, row in sorted(state.apps.items())]
    return [view for view in views if stopped or view["status"] != "stopped"]


def service_views(state: State, *, stopped: bool) -> list[dict[str, Any]]:
    """Services: those that are apps, then workers, provisioners and other programs that beat by themselves."""
    apps = [view for view in app_views(state, stopped=stopped) if view["app"].startswith("service-")]
    return apps + [watched_view(it) for it in watched_services(state)]


def watched_view(monitored: Monitored) -> dict[str, Any]:
    """A service that nobody here runs."""
    return {
        "app": monitored.source,
        "status": "active" if monitored.status else "silent",
        "alive": monitored.status,
        "node": "",
        "generation": 0,
        "since_ms": monitored.since_ms,
        "failure_count": monitored.failure_count,
        "reason": "the provisioner of this pool" if monitored.kind == "pool" else "beats by itself",
    }


def nodes_table(views: Sequence[Mapping[str, Any]], now_ms: int) -> str:
    """Nodes for people; their pool is only said where there are several."""
    says_pool = len({view["pool"] for view in views}) > 1
    rows = [
        [
            view["node"],
            coloured(view["status"]),
            *[view["pool"].removeprefix("pool-")] * says_pool,
            f"{view['slots_used']}/{view['slots']}",
            duration(max(0, now_ms - view["since_ms"])),
            str(view["failure_count"]),
            " ".join(_app_label(app) for app in view["apps"]) or _node_reason(view),
        ]
        for view in views
    ]
    return table(["node", "status", *["pool"] * says_pool, "slots", "for", "failures", "apps"], rows)


def _node_reason(view: Mapping[str, Any]) -> str:
    """Why a node without apps has none."""
    if view["quarantined_until_ms"]:
        return f"failed again and again; takes apps from {clock(view['quarantined_until_ms'])}"
    return str(view["down_reason"])


def _app_label(app: Mapping[str, str]) -> str:
    name = app["app"].removeprefix("application-")
    return name if app["status"] == "running" else f"{name}({app['status']})"


def apps_table(views: Sequence[Mapping[str, Any]], now_ms: int) -> str:
    """Apps for people."""
    rows = [
        [
            view["app"],
            coloured(view["status"]),
            view["node"] or "-",
            str(view["generation"] or "-"),
            duration(max(0, now_ms - view["since_ms"])) if view["since_ms"] else "-",
            str(view["failure_count"]),
            _app_reason(view),
        ]
        for view in views
    ]
    return table(["app", "status", "node", "generation", "for", "failures", "why"], rows)


def _app_reason(view: Mapping[str, Any]) -> str:
    """Why an app is not running; for one that has finished how it ended."""
    if view["status"] == "running":
        return ""
    if view["status"] == "finished" and view["exit_code"] is not None:
        return f"exit code {view['exit_code']}"
    return str(view["reason"])
