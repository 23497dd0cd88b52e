"""One sample at least of every record type, each field filled, and the golden bytes that belong to them.

`python -m tests.contract.samples` adds the lines that are missing under `golden/`. It never changes one that is
there: bytes that were written once must be read for ever.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from sdk.contract import events as e
from sdk.contract import heartbeats as h
from sdk.contract import requests as r
from sdk.contract.codec import (
    decode_event,
    decode_heartbeat,
    decode_orders,
    decode_request,
    encode_event,
    encode_heartbeat,
    encode_orders,
    encode_request,
)
from sdk.contract.devices import Device
from sdk.contract.notifications import (
    Notice,
    Notification,
    Sequence,
    decode_notification,
    encode_notification,
)
from sdk.contract.orders import AppOrder, NodeOrder, NodeOrders, PoolOrders
from sdk.contract.policy import Policy
from sdk.contract.running import HttpCheck
from sdk.contract.specs import AppSpec, Constraint, DockerSpec

GOLDEN = Path(__file__).parent / "golden"

_AT_MS = 1_700_000_000_123
_NODE = "node-10.0.0.1_8101"
_APP = "application-pump"
_LOG = "fJvXc1qwQmKv0qk5n1dK5w"
_AT = e.Position(3, 4711)
_BASIS: dict[str, Any] = {"term": 5, "based_on": 40, "policy": -1}
_FULL: dict[str, Any] = {**_BASIS, "fence": _AT, "wake_ms": 2_000}
SPEC = AppSpec(
    app=_APP,
    command=["python", "-m", "pump", "--name", "Übung"],
    env={"LEVEL": "2"},
    driver="process",
    on_failure="same-node",
    on_isolation="stop",
    start_within_ms=20_000,
    stop_grace_ms=1_000,
    slots=2,
)
DOCKER = DockerSpec("db:16", "bridge", "999", read_only=False, memory_mib=512, cpu_percent=150)
PLACING = AppSpec(
    app="application-web-1",
    command=["web"],
    cpu_percent=150,
    memory_mib=300,
    priority=80,
    group="web",
    constraints=[
        Constraint("pool", ["pool-home", "pool-away"]),
        Constraint("node", [_NODE], "!="),
    ],
    affinity="db",
    spread=False,
)
WATCHED = AppSpec(
    app="application-web-2",
    command=["web"],
    heartbeat="http",
    http=HttpCheck(8_000, "/health", 500),
    readiness=HttpCheck(path="/ready"),
    cpu_limit_percent=50,
    memory_limit_mib=64,
)

EVENTS: dict[str, e.Event] = {
    "node-registered": e.NodeRegistered(
        _NODE, "claim-1", 7, 3, "10.0.0.1", 8101, "pool-home", 4, ["process"], "boot-1", _AT
    ),
    "node-registered-capacity": e.NodeRegistered(
        _NODE, "claim-1", 7, 3, "10.0.0.1", 8101, "pool-home", 4, ["process"], "boot-1", _AT, 800, 32_768
    ),
    "node-registered-limits": e.NodeRegistered(
        _NODE,
        "claim-1",
        7,
        3,
        "10.0.0.1",
        8101,
        "pool-home",
        4,
        ["process"],
        "boot-1",
        _AT,
        0,
        0,
        "cgroup v2",
    ),
    "provisioner-registered": e.ProvisionerRegistered("pool-home", "claim-2", 2, "boot-1", _AT),
    "source-fell-silent": e.SourceFellSilent(_NODE, "node", 9, _LOG, 3, 4700, 4750, 10_230, 10_000, 7_400),
    "source-fell-silent-plain": e.SourceFellSilent(_APP, "app", 9, _LOG, 3, 4700, 4750, 10_230, 10_000),
    "source-returned": e.SourceReturned("service-db", "lone", 0, _LOG, 3, 4760),
    "app-started": e.AppStarted(_APP, 12, _NODE, _AT),
    "app-exited": e.AppExited(_APP, 12, _NODE, "exited", _AT, -9),
    "app-exited-with-detail": e.AppExited(_APP, 12, _NODE, "exited", _AT, 127, "cannot start 'x'"),
    "app-exited-lost": e.AppExited(_APP, 12, _NODE, "lost", _AT),
    "node-exited": e.NodeExited(7, "pool-home", _NODE, "killed", _AT, 137),
    "node-exited-nameless": e.NodeExited(7, "pool-home", "", "no room", _AT),
    "overdue-share-changed": e.OverdueShareChanged(5, "most", 3, 4, [e.Position(0, 17), _AT]),
    "app-submitted": e.AppSubmitted("request-1", SPEC),
    "app-submitted-plain": e.AppSubmitted("request-1", AppSpec("service-db", ["db"])),
    "app-submitted-docker": e.AppSubmitted(
        "request-1", AppSpec("service-db", ["db"], driver="docker", docker=DOCKER)
    ),
    "app-submitted-placing": e.AppSubmitted("request-1", PLACING),
    "app-submitted-watched": e.AppSubmitted("request-1", WATCHED),
    "app-submitted-granted": e.AppSubmitted("request-1", AppSpec("service-db", ["db"]), 44),
    "app-submitted-secrets": e.AppSubmitted(
        "request-1",
        AppSpec("service-db", ["db"], secrets={"PASSWORD": "db-1"}, files={"conf/db.ini": "[a]\n"}),
    ),
    "app-submitted-needs": e.AppSubmitted(
        "request-1",
        AppSpec("application-job", ["job"], needs_services=["db", "service-cache"], restart="on-failure"),
    ),
    "app-stop-requested": e.AppStopRequested("request-2", _APP),
    "app-restart-requested": e.AppRestartRequested("request-3", _APP),
    "nodes-requested": e.NodesRequested("request-4", "pool-home", 2),
    "node-requested": e.NodeRequested("request-11", "pool-home", 2, new=True),
    "node-requested-needs": e.NodeRequested("request-11", "", 2, cpu_percent=150, memory_mib=300),
    "node-requested-plain": e.NodeRequested("request-11", "pool-home", 1),
    "node-shutdown-requested": e.NodeShutdownRequested("request-5", _NODE),
    "node-cordoned": e.NodeCordoned("request-11", _NODE),
    "node-uncordoned": e.NodeUncordoned("request-12", _NODE),
    "node-drain-requested": e.NodeDrainRequested("request-13", _NODE, force=True),
    "app-move-requested": e.AppMoveRequested("request-14", _APP, _NODE),
    "node-down-confirmed": e.NodeDownConfirmed("request-6", _NODE),
    "app-submitted-beats": e.AppSubmitted(
        "request-1", AppSpec("service-scheduler", ["python3", "scheduler.py"], beats="scheduler")
    ),
    "source-expected": e.SourceExpected("request-15", "service-scheduler", "scheduler"),
    "source-returned-bridged": e.SourceReturned("service-scheduler", "lone", 0, _LOG, 3, 4711, 48),
    "source-forgotten": e.SourceForgotten("request-10", "service-scheduler"),
    "brake-release-requested": e.BrakeReleaseRequested("request-7"),
    "watch-paused": e.WatchPaused("request-15", _NODE, 1_800_000),
    "watch-resumed": e.WatchResumed("request-16", "platform"),
    "pool-configured": e.PoolConfigured("request-8", "pool-home", 3, 4),
    "pool-configured-bounds": e.PoolConfigured("request-8", "pool-home", 3, 4, 2, 6, 1, 600_000),
    "device-registered": e.DeviceRegistered(
        "request-20", Device("sensor-hall-1", "thermometer", "°C", "hall", "hall-1-temperature", 30_000)
    ),
    "device-retired": e.DeviceRetired("request-21", "sensor-hall-1"),
    "device-enabled": e.DeviceEnabled("request-22", "controller-lamp-1", enabled=False),
    "sensor-limit-changed": e.SensorLimitChanged("request-25", "thermometer", 30_000),
    "source-fell-silent-sensor": e.SourceFellSilent(
        "sensor-hall-1", "sensor", 0, _LOG, 3, 4_700, 4_811, 30_250, 30_000
    ),
    "device-bound": e.DeviceBound("request-23", "application-1", 0, "sensor-hall-1"),
    "device-unbound": e.DeviceUnbound("request-24", "application-1", 0, "sensor"),
    "controller-set-requested": e.ControllerSetRequested(
        "request-25", "controller-lamp-1", '{"on": true}', 30_000, "application-1", 12, _AT_MS
    ),
    "controller-reported": e.ControllerReported(
        "controller-lamp-1", "request-25", "rejected", "null", 7, "the bulb is gone"
    ),
    "policy-changed": e.PolicyChanged("request-9", Policy(strategy="binpack", silence_limit_ms=12_000)),
    "policy-changed-node-failure": e.PolicyChanged("request-9", Policy(on_node_failure="spread")),
    "policy-changed-grants": e.PolicyChanged("request-9", Policy(grant_within_ms=90_000)),
    "fold-hashed": e.FoldHashed(5, 999, "9f" * 32, 8),
    "notifications-read": e.NotificationsRead(
        5,
        _LOG,
        40,
        47,
        [
            Notice(
                _APP,
                "pump-3",
                12,
                "Pump 3 is dry: Übung",
                "critical",
                3,
                _AT_MS,
                _AT_MS + 9,
                _AT_MS + 10,
                300_000,
                900_000,
            ),
            Notice(_APP, "hello", 12, "hello", "info", 1, _AT_MS, _AT_MS, _AT_MS),
        ],
        [Sequence(_APP, 12, "a1b2c3d4", 17, 4)],
        1,
        2,
        3,
        4,
    ),
    "notifications-read-nothing": e.NotificationsRead(5, _LOG, 40, 41, [], [], garbled=1),
    "notification-acknowledged": e.NotificationAcknowledged("request-30", _APP, "pump-3", 7, "anna"),
    "notification-cleared": e.NotificationCleared("request-31", _APP, "pump-3", 7, "anna"),
    "notification-cleared-by-nobody": e.NotificationCleared("request-31", _APP, "pump-3", 7),
    "request-refused": e.RequestRefused("request-10", "no app 'application-x'"),
    "planner-started": e.PlannerStarted("writer-1", 1),
    "node-ordered": e.NodeOrdered(
        **_FULL, pool="pool-home", slots=4, port_floor=8104, replaces=_NODE, replaces_lineage=9
    ),
    "node-ordered-plain": e.NodeOrdered(**_BASIS, pool="pool-home", slots=4, port_floor=1),
    "node-ordered-spare": e.NodeOrdered(**_BASIS, pool="pool-home", slots=4, port_floor=1, spare=True),
    "node-ordered-place": e.NodeOrdered(**_BASIS, pool="pool-home", slots=4, port_floor=1, place=2),
    "node-order-withdrawn": e.NodeOrderWithdrawn(**_FULL, order=7, pool="pool-home", reason="late"),
    "node-declared-down": e.NodeDeclaredDown(
        **_FULL, node=_NODE, registration=9, reason="silent", destroy=True
    ),
    "node-quarantined": e.NodeQuarantined(**_FULL, node=_NODE, registration=9, failures=3),
    "node-released": e.NodeReleased(**_FULL, node=_NODE, registration=9),
    "node-released-surplus": e.NodeReleased(**_FULL, node=_NODE, registration=9, surplus=True),
    "node-left": e.NodeLeft(**_FULL, node=_NODE, registration=9),
    "spare-taken": e.SpareTaken(
        **_FULL, node=_NODE, registration=9, replaces="node-10.0.0.1_8102", replaces_lineage=8
    ),
    "spare-taken-plain": e.SpareTaken(**_BASIS, node=_NODE, registration=9),
    "spare-retired": e.SpareRetired(**_FULL, node=_NODE, registration=9),
    "pool-held-back": e.PoolHeldBack(**_FULL, pool="pool-home", strikes=2),
    "pool-degraded": e.PoolDegraded(**_FULL, pool="pool-home", strikes=5),
    "pool-enlarged": e.PoolEnlarged(**_FULL, pool="pool-home", grant=44, nodes=4),
    "node-granted": e.NodeGranted(**_FULL, grant=44, node=_NODE, registration=9, slots=2),
    "node-granted-needs": e.NodeGranted(
        **_FULL, grant=44, node=_NODE, registration=9, slots=2, cpu_percent=150, memory_mib=300
    ),
    "grant-refused": e.GrantRefused(**_FULL, grant=44, pool="pool-home", reason="it is full"),
    "grant-expired": e.GrantExpired(**_FULL, grant=44, node=_NODE, reason="unused"),
    "app-placed": e.AppPlaced(
        **_FULL,
        app=_APP,
        node=_NODE,
        registration=9,
        replaces=12,
        reason="node-down",
    ),
    "app-placed-ranking": e.AppPlaced(
        **_FULL,
        app=_APP,
        node=_NODE,
        registration=9,
        replaces=12,
        reason="failure",
        ranking=[
            e.NodeScore(_NODE, -1, 2, 1, 730, 250, 480, _AT),
            e.NodeScore("node-10.0.0.1_8102", 1, cost=400),
        ],
        fell_out={"slots": 2, "draining": 1},
    ),
    "app-placed-plain": e.AppPlaced(**_BASIS, app=_APP, node=_NODE, registration=9, replaces=0, reason="new"),
    "app-prepared": e.AppPrepared(
        **_FULL,
        app=_APP,
        node=_NODE,
        registration=9,
        beside=12,
        ranking=[e.NodeScore(_NODE, cost=400)],
        fell_out={"cordoned": 1},
    ),
    "app-standby-dropped": e.AppStandbyDropped(**_FULL, app=_APP, generation=50, reason="never-beat"),
    "app-declared-down": e.AppDeclaredDown(**_FULL, app=_APP, generation=12, reason="never-beat"),
    "app-held-back": e.AppHeldBack(**_FULL, app=_APP, generation=12, strikes=2),
    "app-gave-up": e.AppGaveUp(**_FULL, app=_APP, generation=12, failures=5),
    "app-finished": e.AppFinished(**_FULL, app=_APP, generation=12, reason="node-down"),
    "app-left-pending": e.AppLeftPending(**_FULL, app=_APP, reason="no node is active"),
    "app-left-pending-counts": e.AppLeftPending(
        **_FULL, app=_APP, reason="no active node has 1 free slot", fell_out={"slots": 3}
    ),
    "brake-engaged": e.BrakeEngaged(**_FULL, band="all", overdue=4, nodes=4),
    "brake-released": e.BrakeReleased(**_FULL, reason="calm"),
    "timer-fired": e.TimerFired(**_FULL, table="apps", key=_APP, set_at=33),
}

HEARTBEATS: dict[str, h.Heartbeat] = {
    "beat": h.Beat("service-db", 0, 17, _AT_MS),
    "tick": h.Tick("writer-1", 99),
    "hello": h.Hello(
        _NODE, "claim-1", 7, 3, 1, _AT_MS, "10.0.0.1", 8101, "pool-home", 4, ["process"], "boot-1"
    ),
    "hello-limits": h.Hello(
        _NODE,
        "claim-1",
        7,
        3,
        1,
        _AT_MS,
        "10.0.0.1",
        8101,
        "pool-home",
        4,
        ["process"],
        "boot-1",
        0,
        0,
        "cgroup v2",
    ),
    "hello-capacity": h.Hello(
        _NODE,
        "claim-1",
        7,
        3,
        1,
        _AT_MS,
        "10.0.0.1",
        8101,
        "pool-home",
        4,
        ["process"],
        "boot-1",
        800,
        32_768,
    ),
    "report-memory": h.Report(_NODE, 9, 40, 18, _AT_MS, [], 0.25, 32_768, 16_000),
    "report": h.Report(
        _NODE,
        9,
        40,
        18,
        _AT_MS,
        [h.AppEntry(_APP, 12, "running", 730, 4242), h.AppEntry("service-db", 13, "exited", 0, 4243, 1)],
        0.25,
    ),
    "report-with-reason": h.Report(
        _NODE, 9, 40, 18, _AT_MS, [h.AppEntry("service-db", 13, "exited", 0, 0, 127, "cannot start 'x'")]
    ),
    "beat-bridged": h.Beat("service-scheduler", 0, 4711, _AT_MS, 48),
    "tick-bridged": h.Tick("writer-1", 18, 52),
    "unchanged": h.Unchanged(_NODE, 9, 19, _AT_MS, 1_234, 0.25, 32_768, 16_000),
    "unchanged-without-load": h.Unchanged(_NODE, 9, 20, _AT_MS, 1_234),
    "report-empty": h.Report(_NODE, 9, 40, 18, _AT_MS, []),
    "pool-report": h.PoolReport(
        "pool-home",
        2,
        40,
        5,
        _AT_MS,
        [
            h.NodeEntry(7, _NODE, "running", 4100),
            h.NodeEntry(8, "node-10.0.0.1_8102", "exited", 4101, 1, "x"),
        ],
    ),
}

ORDERS: dict[str, NodeOrders | PoolOrders] = {
    "node-orders": NodeOrders(
        reporter=_NODE,
        claim="claim-1",
        registration=9,
        topic_id=_LOG,
        as_of=40,
        apps=[
            AppOrder(_APP, 12, ["pump"], {"LEVEL": "2"}, "process", 1_000, "stop", kill=True),
            AppOrder("service-db", 13, ["db"]),
        ],
        silence_limit_ms=12_000,
    ),
    "node-orders-docker": NodeOrders(
        reporter=_NODE,
        claim="claim-1",
        registration=9,
        topic_id=_LOG,
        as_of=40,
        apps=[AppOrder("service-db", 13, ["db"], driver="docker", docker=DOCKER)],
    ),
    "node-orders-secrets": NodeOrders(
        reporter=_NODE,
        claim="claim-1",
        registration=9,
        topic_id=_LOG,
        as_of=40,
        apps=[
            AppOrder("service-db", 13, ["db"], secrets={"PASSWORD": "db-1"}, files={"conf/db.ini": "[a]\n"})
        ],
    ),
    "node-orders-beats": NodeOrders(
        reporter=_NODE,
        claim="claim-1",
        registration=9,
        topic_id=_LOG,
        as_of=40,
        apps=[AppOrder("service-scheduler", 13, ["python3", "scheduler.py"], beats="scheduler")],
    ),
    "node-orders-watched": NodeOrders(
        reporter=_NODE,
        claim="claim-1",
        registration=9,
        topic_id=_LOG,
        as_of=40,
        apps=[
            AppOrder(
                "application-web-2",
                13,
                ["web"],
                heartbeat="http",
                http=HttpCheck(8_000, "/health", 500),
                readiness=HttpCheck(path="/ready"),
                cpu_limit_percent=50,
                memory_limit_mib=64,
            )
        ],
    ),
    "node-orders-ended": NodeOrders(_NODE, "claim-1", 9, _LOG, 40, ended=True),
    "pool-orders": PoolOrders("pool-home", "claim-2", 2, _LOG, 40, [NodeOrder(7, 4, 8104)]),
    "pool-orders-ended": PoolOrders("pool-home", "claim-2", 2, _LOG, 40, ended=True),
}

REQUESTS: dict[str, r.Request] = {
    "run-app": r.RunApp(SPEC),
    "run-app-placing": r.RunApp(PLACING),
    "run-app-granted": r.RunApp(AppSpec("service-db", ["db"]), 44),
    "request-node": r.RequestNode("pool-home", 2, new=True),
    "request-node-needs": r.RequestNode("", 2, cpu_percent=150, memory_mib=300),
    "request-node-plain": r.RequestNode(),
    "stop-app": r.StopApp(_APP),
    "restart-app": r.RestartApp(_APP),
    "create-node": r.CreateNode("pool-home", 2),
    "create-node-plain": r.CreateNode("pool-home"),
    "shutdown-node": r.ShutdownNode(_NODE),
    "cordon-node": r.CordonNode(_NODE),
    "uncordon-node": r.UncordonNode(_NODE),
    "drain-node": r.DrainNode(_NODE, force=True),
    "move-app": r.MoveApp(_APP, _NODE),
    "confirm-node-down": r.ConfirmNodeDown(_NODE),
    "expect-source": r.ExpectSource("service-scheduler", "beats.of.scheduler"),
    "expect-source-plain": r.ExpectSource("service-scheduler"),
    "forget-source": r.ForgetSource("service-scheduler"),
    "release-brake": r.ReleaseBrake(),
    "pause-watch": r.PauseWatch(_NODE, 1_800_000),
    "resume-watch": r.ResumeWatch(""),
    "configure-pool": r.ConfigurePool("home", 3, 8),
    "configure-pool-bounds": r.ConfigurePool(
        "home", 3, 8, nodes_min=2, nodes_max=6, spares=1, register_within_ms=600_000
    ),
    "register-device": r.RegisterDevice(Device("controller-lamp-1", "lamp", location="hall")),
    "retire-device": r.RetireDevice("sensor-hall-1"),
    "enable-device": r.EnableDevice("controller-lamp-1", enabled=False),
    "limit-sensors": r.LimitSensors("thermometer", 30_000),
    "bind-device": r.BindDevice("application-1", 3, "sensor-hall-1"),
    "unbind-device": r.UnbindDevice("application-1", 2, "controller"),
    "acknowledge-notification": r.AcknowledgeNotification(_APP, "pump-3", 7, "anna"),
    "acknowledge-notification-plain": r.AcknowledgeNotification(_APP, "pump-3"),
    "clear-notification": r.ClearNotification(_APP, "pump-3", 7, "anna"),
    "set-controller": r.SetController(
        '{"on": true}', 30_000, "application-1", 2, generation=12, sent_at_ms=_AT_MS
    ),
    "set-controller-by-id": r.SetController("21.5", 30_000, controller="controller-lamp-1"),
    "change-policy": r.ChangePolicy(
        {"strategy": "binpack", "brake_hold_ms": 1, "destroy_silent_nodes": False}
    ),
}

NOTIFICATIONS: dict[str, Notification] = {
    "notification": Notification(
        _APP,
        12,
        "a1b2c3d4",
        17,
        "pump-3",
        "Pump 3 is dry: Übung",
        "critical",
        _AT_MS,
        _AT_MS + 9,
        3,
        300_000,
        900_000,
        4,
    ),
    "notification-plain": Notification(
        "service-db", 0, "a1b2c3d4", 1, "hello", "hello", "info", _AT_MS, _AT_MS
    ),
}

#: File -> its samples.
SAMPLES: dict[str, dict[str, Any]] = {
    "events": EVENTS,
    "heartbeats": HEARTBEATS,
    "orders": ORDERS,
    "requests": REQUESTS,
    "notifications": NOTIFICATIONS,
}

#: File -> samples whose golden bytes lack a field that their record has since got: read, but not written so any more.
GROWN: dict[str, set[str]] = {
    "events": {"policy-changed", "policy-changed-node-failure"},
    "heartbeats": {"hello", "hello-capacity", "report", "report-empty", "beat", "tick"},
}

#: File -> the bytes of a record of that kind, with fixed ids, writer and time.
ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "events": lambda event: encode_event(
        event, event_id="event-1", cause="cause-1", writer="writer-1", at_ms=_AT_MS
    ),
    "heartbeats": encode_heartbeat,
    "orders": encode_orders,
    "requests": lambda request: encode_request(
        request, request_id="request-1", asker="someone", at_ms=_AT_MS
    ),
    "notifications": encode_notification,
}

#: File -> the record in its bytes.
DECODERS: dict[str, Callable[[bytes], msgspec.Struct]] = {
    "events": lambda value: decode_event(value).event,
    "heartbeats": decode_heartbeat,
    "orders": lambda value: decode_orders(json.loads(value)["reporter"], value),
    "requests": lambda value: decode_request(value).request,
    "notifications": decode_notification,
}


def read_golden(kind: str) -> dict[str, bytes]:
    """Name -> golden bytes of one file."""
    path = GOLDEN / f"{kind}.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {line["name"]: line["bytes"].encode() for line in map(json.loads, lines)}


def add_missing(kind: str) -> list[str]:
    """Append the golden lines that are missing in one file; which they are."""
    missing = [name for name in SAMPLES[kind] if name not in read_golden(kind)]
    with (GOLDEN / f"{kind}.jsonl").open("a", encoding="utf-8") as file:
        for name in missing:
            value = ENCODERS[kind](SAMPLES[kind][name]).decode()
            file.write(json.dumps({"name": name, "bytes": value}, ensure_ascii=False) + "\n")
    return missing


if __name__ == "__main__":
    for each in SAMPLES:
        print(each, "added:", ", ".join(add_missing(each)) or "nothing")  # noqa: T201  # a script speaks
