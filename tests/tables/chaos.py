"""Logs made by seeded chance: plausible, stale, doubled and absurd events in any order, and a fake witness."""

import random
from collections.abc import Iterator
from typing import Any, Literal, cast

from sdk.contract import events as e
from sdk.contract.devices import Device
from sdk.contract.notifications import SEVERITIES, Notice, Sequence
from sdk.contract.policy import Policy
from sdk.contract.specs import AppSpec, Constraint
from tables.decide import decide
from tables.rows import Wake
from tables.state import State
from tests.tables.entries import Entry, FakeWitness, fold_entry

TOPIC = "log-1"
POOLS = ("pool-home", "pool-away")
APPS = ("application-a", "application-b", "application-c", "service-d", "service-e")
DEVICES = ("sensor-a", "sensor-b", "controller-c")
CONTROLLERS = ("controller-c",)
IP = "10.0.0.1"
_AT_MS = 1_700_000_000_000


class Chaos:
    """Draws events that are mostly plausible in the state at hand."""

    def __init__(self, seed: int, state: State) -> None:
        self.rng = random.Random(seed)
        self.state = state
        self._count = 0

    def draw(self) -> e.Event:
        """The next event."""
        kind = self.rng.choice(_KINDS)
        return cast("e.Event", getattr(self, f"_{kind}")())

    # --- values -------------------------------------------------------------------------------------

    def _one(self, values: Any, default: Any) -> Any:
        values = sorted(values)
        return self.rng.choice(values) if values else default

    def _offset(self, right: int) -> int:
        """Mostly the right one."""
        return right if self.rng.random() < 0.85 else self.rng.randint(0, self.state.offset + 2)

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _request(self) -> str:
        return f"request-{self._number() if self.rng.random() < 0.95 else self.rng.randint(0, 9)}"

    def _node(self) -> str:
        return str(self._one(self.state.nodes, f"node-{IP}_9"))

    def _app(self) -> str:
        return self.rng.choice(APPS)

    def _pool(self) -> str:
        return self.rng.choice((POOLS[0], POOLS[0], POOLS[1]))

    def _position(self) -> e.Position:
        # Partition and offset move on with the log, so that mostly nothing is stale.
        offset = self.state.offset * 10 + self.rng.randint(-20, 20)
        return e.Position(self.rng.randint(0, 7), max(0, offset))

    def _basis(self) -> dict[str, Any]:
        wake = self.rng.choice((0, 1, 1_000, 60_000))
        return {"term": self._offset(self.state.term.term), "based_on": 0, "policy": -1, "wake_ms": wake}

    # --- facts --------------------------------------------------------------------------------------

    def _registered(self) -> e.Event:
        fresh = self.rng.random() < 0.7
        order = self._one(self.state.open_orders, 1) if fresh else self._one(map(int, self.state.orders), 1)
        node = self.state.node_of_order.get(order)
        row = self.state.nodes[node] if node is not None else None
        port = row.port if row is not None else 8_100 + self.rng.randint(1, 40)
        pool = self.state.orders[str(order)].pool if str(order) in self.state.orders else self._pool()
        old = self._offset(row.registration if row is not None else 0)
        return e.NodeRegistered(
            f"node-{IP}_{port}", f"claim-{self._number()}", order, old, IP, port, pool, 3, [], "boot",
            self._position(), self.rng.choice((0, 100)),
        )  # fmt: skip

    def _provisioner(self) -> e.Event:
        pool = self._pool()
        row = self.state.pools.get(pool)
        old = self._offset(row.registration if row else 0)
        return e.ProvisionerRegistered(pool, f"claim-{self._number()}", old, "boot", self._position())

    def _source(self) -> tuple[str, e.SourceKind, int]:
        kind: e.SourceKind = self.rng.choice(("node", "node", "pool", "app", "lone"))
        if kind == "node":
            node = self._node()
            row = self.state.nodes.get(node)
            return node, kind, self._offset(row.registration if row else 0)
        if kind == "pool":
            pool = self._pool()
            known = self.state.pools.get(pool)
            return pool, kind, self._offset(known.registration if known else 0)
        if kind == "app":
            app = self._app()
            running = self.state.apps.get(app)
            return app, kind, self._offset(running.generation if running else 0)
        if self.rng.random() < 0.3:
            return self.rng.choice(DEVICES), "sensor", 0
        return self.rng.choice(("service-lone", "deployer", APPS[0])), kind, 0

    def _silent(self) -> e.Event:
        source, kind, epoch = self._source()
        at = self._position()
        sensor = self.state.devices.get(source) if kind == "sensor" else None
        limit_ms = self._offset(sensor.limit_ms) if sensor is not None else 10_000
        return e.SourceFellSilent(
            source, kind, epoch, TOPIC, at.partition, at.offset, at.offset + 9, 10_001, limit_ms
        )

    def _returned(self) -> e.Event:
        source, kind, epoch = self._source()
        at = self._position()
        rows = self.state.devices if kind == "sensor" else self.state.sources
        row = rows.get(source)
        bridged = (
            self.rng.choice((0, row.expectation)) if row is not None and kind in ("lone", "sensor") else 0
        )
        return e.SourceReturned(
            source, kind, epoch, TOPIC, at.partition, at.offset, bridged and self._offset(bridged)
        )

    def _copy(self) -> tuple[str, int, str]:
        app = self._app()
        row = self.state.apps.get(app)
        if row is not None and row.standby is not None and self.rng.random() < 0.5:
            return app, self._offset(row.standby.generation), row.standby.node
        return app, self._offset(row.generation if row else 0), row.node if row else self._node()

    def _started(self) -> e.Event:
        return e.AppStarted(*self._copy(), self._position())

    def _exited(self) -> e.Event:
        reason: Literal["exited", "lost"] = self.rng.choice(("exited", "lost"))
        return e.AppExited(*self._copy(), reason, self._position(), self.rng.choice((0, 1)))

    def _node_exited(self) -> e.Event:
        order = self._one(map(int, self.state.orders), 1)
        node = self.state.node_of_order.get(order, self.rng.choice(("", f"node-{IP}_8130")))
        return e.NodeExited(order, self._pool(), node, "killed", self._position())

    def _share(self) -> e.Event:
        band: e.Band = self.rng.choice(("calm", "calm", "most", "all"))
        return e.OverdueShareChanged(self._offset(self.state.term.term), band, 2, 3, [])

    # --- requests -----------------------------------------------------------------------------------

    def _submit(self) -> e.Event:
        one = self.rng.choice
        constraint = Constraint("pool", [one(POOLS)], one(("=", "!=")))
        spec = AppSpec(
            self._app(),
            ["run"],
            slots=one((1, 1, 2)),
            cpu_percent=one((0, 0, 60)),
            priority=one((50, 50, 90)),
            group=one(("", "web")),
            affinity=one(("", "", "web")),
            constraints=one(([], [], [constraint])),
            needs_services=one(([], [], [], [], ["d"], ["service-e"])),
            restart=one(("always", "always", "always", "on-failure", "never")),
        )
        grant = self._grant() if self.rng.random() < 0.3 else 0
        return e.AppSubmitted(self._request(), spec, grant)

    def _grant(self) -> int:
        return int(self._one(self.state.grants, "1"))

    def _stop(self) -> e.Event:
        return e.AppStopRequested(self._request(), self._app())

    def _restart(self) -> e.Event:
        return e.AppRestartRequested(self._request(), self._app())

    def _move(self) -> e.Event:
        return e.AppMoveRequested(self._request(), self._app(), self.rng.choice(("", "", self._node())))

    def _drain(self) -> e.Event:
        return e.NodeDrainRequested(self._request(), self._node(), self.rng.random() < 0.3)

    def _nodes(self) -> e.Event:
        return e.NodesRequested(self._request(), self._pool(), self.rng.randint(0, 2))

    def _room(self) -> e.Event:
        slots, new = self.rng.choice((1, 1, 2, 3, 4)), self.rng.random() < 0.3
        pool = self.rng.choice(("", self._pool(), self._pool()))
        return e.NodeRequested(self._request(), pool, slots, new, self.rng.choice((0, 0, 30)))

    def _shutdown(self) -> e.Event:
        return e.NodeShutdownRequested(self._request(), self._node())

    def _cordon(self) -> e.Event:
        kind = self.rng.choice((e.NodeCordoned, e.NodeUncordoned, e.NodeUncordoned))
        return kind(self._request(), self._node())

    def _confirm(self) -> e.Event:
        return e.NodeDownConfirmed(self._request(), self._node())

    def _expect(self) -> e.Event:
        topic = self.rng.choice(("scheduler", "beats.of.it", "no topic"))
        return e.SourceExpected(self._request(), self._source()[0], topic)

    def _forget(self) -> e.Event:
        return e.SourceForgotten(self._request(), self._source()[0])

    def _release(self) -> e.Event:
        return e.BrakeReleaseRequested(self._request())

    def _pause(self) -> e.Event:
        subject = self.rng.choice(("platform", self._node(), self._app(), "node-unknown"))
        if self.rng.random() < 0.5:
            return e.WatchResumed(self._request(), subject)
        return e.WatchPaused(self._request(), subject, self.rng.choice((0, 1_000, 20_000)))

    def _configure(self) -> e.Event:
        draw = self.rng.randint
        return e.PoolConfigured(
            self._request(), self._pool(), draw(0, 4), 3, draw(0, 2), draw(0, 5), self.rng.choice((0, 1, 2))
        )

    def _command(self) -> e.Event:
        """Mostly for a controller that is known, by the app that has it, in the generation in force."""
        one = self.rng.choice
        controller = one((*CONTROLLERS, *CONTROLLERS, DEVICES[0]))
        holders = [app for app, row in self.state.bindings.items() if controller in row.controllers.values()]
        app = one((self._one(holders, ""), "", self._app()))
        row = self.state.apps.get(app)
        generation = one((0, self._offset(row.generation))) if row is not None else one((0, 3))
        value = one(("1", '{"on":true}', "no json("))
        sent_at_ms = one((0, self.state.now_ms, max(0, self.state.now_ms - 100_000)))
        return e.ControllerSetRequested(
            self._request(), controller, value, one((1_000, 30_000, 0)), app, generation, sent_at_ms
        )

    def _reported(self) -> e.Event:
        controller = self.rng.choice(CONTROLLERS)
        known = self.state.commands_of.get(controller) or ["command-none"]
        outcome: Literal["done", "rejected"] = self.rng.choice(("done", "rejected"))
        command = self.rng.choice([known[-1], known[-1], *known])
        return e.ControllerReported(controller, command, outcome, self.rng.choice(("1", "(")), 7)

    def _hashed(self) -> e.Event:
        return e.FoldHashed(self._basis()["term"], self._offset(0), "9f" * 32, 1)

    def _device(self) -> e.Event:
        one = self.rng.choice
        device, app, index = one(DEVICES), self._app(), one((0, 0, 1, 99_999))
        match one(("register", "register", "retire", "enable", "limit", "bind", "bind", "unbind")):
            case "register":
                kind, topic = one(("lamp", "probe", "x" * 200)), one(("", "", "yard"))
                limit_ms = one((0, 0, 5_000, 1))
                known = Device(device, kind, topic=topic, silence_limit_ms=limit_ms)
                return e.DeviceRegistered(self._request(), known)
            case "retire":
                return e.DeviceRetired(self._request(), device)
            case "enable":
                return e.DeviceEnabled(self._request(), device, enabled=one((True, False)))
            case "limit":
                kind, limit_ms = one(("lamp", "lamp", "probe", "")), one((0, 8_000, 30_000, 1))
                return e.SensorLimitChanged(self._request(), kind, limit_ms)
            case "bind":
                return e.DeviceBound(self._request(), app, index, device)
            case _:
                return e.DeviceUnbound(self._request(), app, index, one(("sensor", "controller")))

    def _notices(self) -> e.Event:
        one, draw = self.rng.choice, self.rng.randint
        inbox, app = self.state.inbox, self._app()
        generation = one((0, 0, 3, 5))
        notices = [
            Notice(app, one("abc"), generation, "text", one(SEVERITIES), draw(1, 3), 5, 9, self.state.now_ms,
                   one((0, 1_000)), one((0, 0, 1_000, 60_000)))
            for _ in range(draw(0, 3))
        ]  # fmt: skip
        start = self._offset(inbox.next_offset)
        topic = one(("topic-1",) * 9 + ("topic-2",))
        return e.NotificationsRead(
            self._offset(self.state.term.term), topic, start if topic == inbox.topic_id else 0, start + draw(1, 9),
            notices, [Sequence(app, generation, one(("w1", "w2")), draw(1, 99), draw(0, 2))], lost=one((0, 0, 7)),
        )  # fmt: skip

    def _answer(self) -> e.Event:
        row = self.state.notifications.get(self._one(self.state.notifications, ""))
        app, key, number = (row.app, row.key, row.number) if row is not None else (self._app(), "a", 0)
        kind = self.rng.choice(
            (e.NotificationAcknowledged, e.NotificationAcknowledged, e.NotificationCleared)
        )
        return kind(self._request(), app, key, self.rng.choice((0, number, number, 99)), "anna")

    def _policy(self) -> e.Event:
        policy = Policy(
            strategy=self.rng.choice(("spread", "binpack", "nonsense")),
            destroy_silent_nodes=self.rng.random() < 0.5,
            pool_nodes_max=self.rng.choice((0, 3, 100)),
            app_give_up_after=self.rng.choice((2, 5)),
            on_node_failure=self.rng.choice(("new-node", "spread")),
            node_quarantine_after=self.rng.choice((1, 3)),
        )
        return e.PolicyChanged(self._request(), policy)

    def _refused(self) -> e.Event:
        return e.RequestRefused(self._request(), "no")

    # --- decisions ----------------------------------------------------------------------------------

    def _planner(self) -> e.Event:
        return e.PlannerStarted(f"writer-{self.rng.randint(1, 3)}", self.rng.choice((0, 1, 1, 1)))

    def _ordered(self) -> e.Event:
        node = self._node() if self.rng.random() < 0.5 else ""
        row = self.state.nodes.get(node)
        lineage = row.lineage if row else 0
        return e.NodeOrdered(
            **self._basis(), pool=self._pool(), slots=3, port_floor=1, replaces=node, replaces_lineage=lineage
        )

    def _spare_ordered(self) -> e.Event:
        place = self.rng.choice((0, 0, 1, 2))
        return e.NodeOrdered(
            **self._basis(), pool=self._pool(), slots=3, port_floor=1, spare=True, place=place
        )

    def _spare_taken(self) -> e.Event:
        node, dead = self._node(), self.rng.choice(("", self._node()))
        row, lost = self.state.nodes.get(node), self.state.nodes.get(dead)
        return e.SpareTaken(
            **self._basis(),
            node=node,
            registration=self._offset(row.registration if row else 0),
            replaces=dead,
            replaces_lineage=lost.lineage if lost else 0,
        )

    def _spare_retired(self) -> e.Event:
        node = self._node()
        row = self.state.nodes.get(node)
        return e.SpareRetired(**self._basis(), node=node, registration=row.registration if row else 0)

    def _withdrawn(self) -> e.Event:
        order = self._one(self.state.open_orders, 1)
        return e.NodeOrderWithdrawn(**self._basis(), order=order, pool=self._pool(), reason="late")

    def _down(self) -> e.Event:
        node = self._node()
        row = self.state.nodes.get(node)
        reason: Literal["silent", "exited", "confirmed"] = self.rng.choice(("silent", "exited", "confirmed"))
        return e.NodeDeclaredDown(
            **self._basis(),
            node=node,
            registration=self._offset(row.registration if row else 0),
            reason=reason,
            destroy=self.rng.random() < 0.5,
        )

    def _quarantined(self) -> e.Event:
        node = self._node()
        row = self.state.nodes.get(node)
        registration = self._offset(row.registration if row else 0)
        if self.rng.random() < 0.5:
            return e.NodeReleased(**self._basis(), node=node, registration=registration)
        return e.NodeQuarantined(**self._basis(), node=node, registration=registration, failures=3)

    def _left(self) -> e.Event:
        node = self._node()
        row = self.state.nodes.get(node)
        return e.NodeLeft(**self._basis(), node=node, registration=row.registration if row else 0)

    def _strikes(self) -> tuple[str, int]:
        pool = self._pool()
        row = self.state.pools.get(pool)
        return pool, row.strikes if row else 0

    def _pool_held(self) -> e.Event:
        pool, strikes = self._strikes()
        return e.PoolHeldBack(**self._basis(), pool=pool, strikes=strikes)

    def _pool_degraded(self) -> e.Event:
        pool, strikes = self._strikes()
        return e.PoolDegraded(**self._basis(), pool=pool, strikes=strikes)

    def _enlarged(self) -> e.Event:
        pool = self._pool()
        row = self.state.pools.get(pool)
        nodes = self._offset(row.nodes + 1 if row else 1)
        return e.PoolEnlarged(**self._basis(), pool=pool, grant=self._grant(), nodes=nodes)

    def _granted(self) -> e.Event:
        grant = self._grant()
        known = self.state.grants.get(str(grant))
        node = self._node()
        row = self.state.nodes.get(node)
        return e.NodeGranted(
            **self._basis(),
            grant=grant,
            node=node,
            registration=self._offset(row.registration if row else 0),
            slots=known.slots if known else 1,
            cpu_percent=known.cpu_percent if known else 0,
        )

    def _grant_refused(self) -> e.Event:
        return e.GrantRefused(**self._basis(), grant=self._grant(), pool=self._pool(), reason="full")

    def _grant_expired(self) -> e.Event:
        grant = self._grant()
        known = self.state.grants.get(str(grant))
        node = known.node if known else self._node()
        reason: Literal["unused", "node-gone"] = self.rng.choice(("unused", "node-gone"))
        return e.GrantExpired(**self._basis(), grant=grant, node=node, reason=reason)

    def _placed(self) -> e.Event:
        app, generation, _ = self._copy()
        node = self._node()
        row = self.state.nodes.get(node)
        return e.AppPlaced(
            **self._basis(),
            app=app,
            node=node,
            registration=row.registration if row else 0,
            replaces=generation,
            reason="new",
        )

    def _prepared(self) -> e.Event:
        app, generation, _ = self._copy()
        node = self._node()
        row = self.state.nodes.get(node)
        return e.AppPrepared(
            **self._basis(),
            app=app,
            node=node,
            registration=row.registration if row else 0,
            beside=generation,
        )

    def _standby_dropped(self) -> e.Event:
        app = self._app()
        row = self.state.apps.get(app)
        generation = row.standby.generation if row is not None and row.standby is not None else 1
        reason: Literal["never-beat", "node-down"] = self.rng.choice(("never-beat", "node-down"))
        return e.AppStandbyDropped(
            **self._basis(), app=app, generation=self._offset(generation), reason=reason
        )

    def _app_down(self) -> e.Event:
        app, generation, _ = self._copy()
        reason: Literal["silent", "never-beat"] = self.rng.choice(("silent", "never-beat"))
        return e.AppDeclaredDown(**self._basis(), app=app, generation=generation, reason=reason)

    def _app_held(self) -> e.Event:
        app, generation, _ = self._copy()
        # Without a wake it would say nothing, and the planner never makes one such.
        return e.AppHeldBack(**{**self._basis(), "wake_ms": 1_000}, app=app, generation=generation, strikes=2)

    def _gave_up(self) -> e.Event:
        app, generation, _ = self._copy()
        return e.AppGaveUp(**self._basis(), app=app, generation=generation, failures=5)

    def _finished(self) -> e.Event:
        app, generation, _ = self._copy()
        reason: Literal["node-down", "silent"] = self.rng.choice(("node-down", "silent"))
        return e.AppFinished(**self._basis(), app=app, generation=generation, reason=reason)

    def _pending(self) -> e.Event:
        return e.AppLeftPending(**self._basis(), app=self._app(), reason=self.rng.choice(("one", "two")))

    def _engaged(self) -> e.Event:
        return e.BrakeEngaged(**self._basis(), band="most", overdue=2, nodes=3)

    def _released(self) -> e.Event:
        return e.BrakeReleased(**self._basis(), reason="calm")

    def _timer(self) -> e.Event:
        table, key = self._one(self.state.waking, ("apps", APPS[0]))
        row = self.state.tables[table].get(key)
        wake: Wake | None = getattr(row, "wake", None)
        set_at = self._offset(wake.set_at if wake else 0)
        return e.TimerFired(**self._basis(), table=table, key=key, set_at=set_at)


_FACTS_AND_REQUESTS = (
    *("registered",) * 6, "provisioner", *("silent",) * 3, *("returned",) * 3, *("started",) * 4,
    *("exited",) * 4, *("node_exited",) * 2, "share", *("submit",) * 4, "stop", "restart", "nodes", *("room",) * 2,
    "shutdown", "confirm", "cordon", "move", "move", "drain", "expect", "forget", "release", "pause", "configure",
    "policy", "refused", "hashed", *("device",) * 3, *("command",) * 2, "reported", *("timer",) * 4,
    *("notices",) * 4, *("answer",) * 2,
)  # fmt: skip
_DECISIONS = (
    *("ordered",) * 3, "spare_ordered", "spare_taken", "spare_taken", "spare_retired", "withdrawn",
    *("down",) * 3, "quarantined", "prepared", "prepared", "standby_dropped",
    "left", "pool_held", "pool_degraded", "enlarged", *("granted",) * 2, "grant_refused", "grant_expired",
    *("placed",) * 4, *("app_down",) * 2, "app_held", "gave_up", "finished",
    "pending", "engaged", "released",
)  # fmt: skip
_KINDS = (*_FACTS_AND_REQUESTS, *_DECISIONS)


def wild_log(seed: int, length: int) -> Iterator[tuple[State, Entry]]:
    """Records of every type, decisions that nobody made included; yields the state before each."""
    state = State()
    chaos = Chaos(seed, state)
    at_ms = _AT_MS
    past: list[e.Event] = []
    starts: list[e.Event] = [
        e.PoolConfigured("pool-1", POOLS[0], 3, 3),
        e.PlannerStarted("writer-1", 1),
    ]
    for offset in range(length):
        at_ms += chaos.rng.choice((0, 1, 50, 1_000, 30_000, -200, 86_400_000))
        if offset < len(starts):
            event = starts[offset]
        elif past and chaos.rng.random() < 0.1:
            event = chaos.rng.choice(past)
        else:
            event = chaos.draw()
        past.append(event)
        entry = Entry(offset, at_ms, event)
        yield state, entry
        fold_entry(state, entry)


def planned_log(seed: int, rounds: int) -> Iterator[tuple[State, FakeWitness, list[Entry]]]:
    """Facts, requests and timers by chance, and after each what the planner decides; yields before its decisions.

    The yielded list is the whole log so far; the decisions are appended to it after each yield.
    """
    state = State()
    chaos = Chaos(seed, state)
    log: list[Entry] = []

    def append(event: e.Event) -> None:
        entry = Entry(len(log), _AT_MS + len(log) * 700, event)
        log.append(entry)
        fold_entry(state, entry)

    append(e.PoolConfigured("pool-1", POOLS[0], 3, 3))
    append(e.PlannerStarted("writer-1", 1))
    for number in range(rounds):
        witness = FakeWitness(seed + number, certain=chaos.rng.random() < 0.7)
        yield state, witness, log
        for event in decide(state, witness):
            append(event)
        append(getattr(chaos, f"_{chaos.rng.choice(_FACTS_AND_REQUESTS)}")())
