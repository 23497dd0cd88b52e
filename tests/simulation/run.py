"""One seed, from the first node to a healed world; and the search for a shorter way to the same failure.

Part of the simulator. Phases: begin in peace, faults, healing within a bound, then silence on the log.
"""

import gc
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

from sdk.contract.requests import (
    ChangePolicy,
    ConfigurePool,
    ExpectSource,
    ReleaseBrake,
    RestartApp,
    RunApp,
    StopApp,
    UncordonNode,
)
from sdk.contract.specs import AppSpec
from sdk.contract.topics import VIEW_TABLES
from tables.state import unmet_needs
from tests.simulation.differences import Violation
from tests.simulation.nemesis import Fault, plan_faults, strike
from tests.simulation.sensors import begin_sensors
from tests.simulation.world import Size, World, simulated_shell

BEGIN_MS = 15_000
#: How long the nemesis has: less than this, and no silence that nobody finds lasts long enough to be called that.
CHAOS_MS = 60_000
#: After the healing everything must be well within this: a pool's largest pause, a brake's hold, a hold-back
#: and a registration that never came, one after the other.
HEAL_MS, HEAL_SCALED_MS = 900_000, 240_000
#: Then nothing more may be written to the log for this long.
QUIET_MS = 30_000

#: Constants that are long against a run, scaled down in most seeds so that they happen; the largest pool is too.
SCALED = {
    "pool_backoff_max_ms": 8_000,
    "app_backoff_max_ms": 5_000,
    "register_within_ms": 12_000,
    "brake_hold_ms": 15_000,
    "brake_step_ms": 3_000,
    "brake_calm_ms": 3_000,
    "app_good_run_ms": 20_000,
    "app_give_up_window_ms": 30_000,
    "app_give_up_after": 4,
    "pool_degraded_after": 2,
    "node_failure_window_ms": 60_000,
    "node_quarantine_ms": 20_000,
    "drain_within_ms": 15_000,
}
#: Nodes beyond the most that people ask for: what is closed, in quarantine or on its way.
SPARE_NODES = 4


class Verdict(NamedTuple):
    """How a run ended."""

    seed: int
    #: Name of the checker, empty if all is well.
    checker: str
    text: str
    faults: list[Fault]
    simulated_ms: int
    events: int
    dropped: int
    digest: str


def faults_of(seed: int, *, chaos_ms: int = CHAOS_MS, kinds: Sequence[str] = ()) -> list[Fault]:
    """What the nemesis plans for a seed."""
    chance = Random(f"count/{seed}")
    count = chance.choice([5, 10, 20, 40])
    return plan_faults(seed, from_ms=BEGIN_MS, until_ms=BEGIN_MS + chaos_ms, count=count, kinds=kinds)


def long_faults_of(seed: int, *, chaos_ms: int) -> list[Fault]:
    """Faults of a longer run: as if normal seeds came one after the other, favourites and all."""
    faults = [
        fault._replace(at_ms=fault.at_ms + shift_ms)
        for number, shift_ms in enumerate(range(0, chaos_ms, CHAOS_MS))
        for fault in faults_of(seed * 1_000_003 + number)
    ]
    return [fault for fault in faults if fault.at_ms <= BEGIN_MS + chaos_ms]


def run_seed(
    seed: int,
    faults: Sequence[Fault] | None = None,
    *,
    chaos_ms: int = CHAOS_MS,
    size: Size | None = None,
    **how: bool,
) -> Verdict:
    """Run one seed, with all its faults or with those given; `size` is the seed's own matter if not given.

    `shortcuts=False` takes each turn of everybody, `watches_dozing=True` looks at those left out.
    """
    planned = faults_of(seed, chaos_ms=chaos_ms) if faults is None else list(faults)
    chance = Random(f"shape/{seed}")
    workers, supervised = chance.choice([2, 2, 3]), chance.random() < 0.5
    size = size or Size(nodes=chance.randint(4, 5), apps=chance.randint(3, 8))
    originals = Random(f"originals/{seed}").choice([0, 0, 1, 2])
    speakers = Random(f"speakers/{seed}").choice([0, 0, 1, 2])
    controllers = Random(f"controllers/{seed}").choice([0, 0, 1, 2])
    sensors = Random(f"sensors/{seed}").choice([0, 0, 0, 2])
    world = World(
        seed,
        workers=workers,
        originals=originals,
        speakers=speakers,
        controllers=controllers,
        sensors=sensors,
        supervised=supervised,
        size=size,
        past=None,
        **how,
    )
    checker = text = ""
    with simulated_shell(world), without_gc():
        try:
            _play(world, planned, chance, chaos_ms)
        except Violation as violation:
            checker, text = violation.checker, str(violation)
        except Exception as error:  # noqa: BLE001  # whatever our code raises is a find
            checker, text = "nothing raises", f"{error!r}\n{traceback.format_exc(limit=-6)}"
    checks = world.checks
    return Verdict(
        seed, checker, text, planned, world.loop.passed_ms, checks.events, checks.dropped, world.digest()
    )


@contextmanager
def without_gc() -> Iterator[None]:
    """No search for cycles meanwhile: a run keeps nearly all it makes."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _play(world: World, faults: list[Fault], chance: Random, chaos_ms: int) -> None:
    loop = world.loop
    begin_ms = loop.now_ms
    scaled = chance.random() < 0.8
    loop.run_until(begin_ms + 3_000)
    if scaled:
        world.ask(ChangePolicy({**SCALED, "pool_nodes_max": world.size.nodes_max + SPARE_NODES}))
    world.ask(_pool(world))
    wishes = []
    for number in range(world.size.apps):
        isolation = "stop" if chance.random() < 0.3 else "keep"
        # The first two are services; who needs one that comes after it waits.
        name = f"application-{number}" if number > 1 else f"service-{number}"
        needs = (
            ["service-0"]
            if number == 1
            else [f"service-{number % 2}"]
            if chance.random() < 0.3 and number
            else []
        )
        restart = chance.choice(["always"] * 6 + ["on-failure", "never"]) if number > 1 else "always"
        beats = f"app-{number}" if world.originals.all and number % 3 == world.seed % 3 else ""
        wishes.append(
            AppSpec(
                name,
                ["beats"],
                on_isolation=isolation,  # type: ignore[arg-type]
                needs_services=needs,
                restart=restart,  # type: ignore[arg-type]
                beats=beats,
            )
        )
    for spec in reversed(wishes) if chance.random() < 0.5 else wishes:
        world.ask(RunApp(spec))
    for original in world.originals.all:
        world.ask(ExpectSource(original.name, original.topic))
    begin_sensors(world)
    world.house.begin()
    for fault in faults:
        loop.run_until(begin_ms + fault.at_ms)
        world.faults += 1
        strike(world, fault)
    loop.run_until(begin_ms + BEGIN_MS + chaos_ms)
    _heal(world, HEAL_SCALED_MS if scaled else HEAL_MS)


def _pool(world: World) -> ConfigurePool:
    """The pool of a seed: half of them with spares, and some that keep a minimum or have a maximum of their own."""
    chance, size = Random(f"pool/{world.seed}"), world.size
    return ConfigurePool(
        "home",
        size.nodes,
        4,
        nodes_min=chance.choice([0, size.nodes_min]),
        nodes_max=chance.choice([0, size.nodes_max + SPARE_NODES]),
        spares=chance.choice([0, 0, 1, 2]),
    )


def _heal(world: World, within_ms: int) -> None:
    loop, checks = world.loop, world.checks
    world.heal()
    loop.run_until(loop.now_ms + 20_000)
    end_ms = loop.now_ms + within_ms
    while why := checks.unhealed() or _ask_again(world):
        if loop.now_ms >= end_ms:
            checks.fail("it heals", why)
        _ask_again(world)
        loop.run_until(loop.now_ms + 5_000)
    events, commands = checks.events, sum(log.end for log in _commands(world))
    loop.run_until(loop.now_ms + QUIET_MS)
    if checks.events != events:
        last = world.broker.log(world.topics.events).records[-1].value
        checks.fail("silence after all", f"{checks.events - events} events, the last {last!r:.300}")
    if sum(log.end for log in _commands(world)) != commands:
        checks.fail("silence after all", "orders or rows are written again and again")
    if why := checks.unhealed():
        checks.fail("it heals", f"it was well, now {why}")
    checks.finish()


def _commands(world: World) -> list:  # type: ignore[type-arg]
    written = (world.topics.commands, *world.house.topics, *map(world.topics.state, VIEW_TABLES))
    return [log for (topic, _), log in world.broker.logs.items() if topic in written]


def _ask_again(world: World) -> str:
    """People answer alarms, open nodes, stop what cannot run, restart what was given up; what they still wait for."""
    waiting = ""
    for node, host in sorted(world.checks.state.nodes.items()):
        if host.status == "active" and (host.cordoned or host.quarantined):
            world.ask(UncordonNode(node))
            waiting = f"{node} takes no apps"
    brake = world.checks.state.brake
    if brake.engaged >= 0 and brake.band == "all" and brake.wake is not None and brake.wake.fired:
        # All are silent for good, and nothing but a person ends that alarm (architecture, the brake).
        world.ask(ReleaseBrake())
        waiting = "every node is silent"
    for app, row in sorted(world.checks.state.apps.items()):
        if row.wanted and row.spec.command[0] not in ("beats", "stubborn"):
            world.ask(StopApp(app))
            waiting = f"{app} is to stop"
        elif row.wanted and row.gave_up:
            world.ask(RestartApp(app))
            waiting = f"{app} was given up"
        elif row.wanted and row.restarting:
            waiting = f"{app} restarts"
    missing = _ask_for_services(world)
    return waiting or missing


def _ask_for_services(world: World) -> str:
    """Who waits for a service that was stopped or never was gets it; whom it cannot have is not waited for."""
    state, waiting = world.checks.state, ""
    for app, row in sorted(state.apps.items()):
        for service in unmet_needs(state, row) if row.pending_reason.startswith("waits for") else ():
            needed = state.apps.get(service)
            if needed is None or not needed.wanted:
                world.ask(RunApp(AppSpec(service, ["beats"])))
                waiting = f"{app} waits for {service}"
    return waiting


def shrink(seed: int, faults: list[Fault], checker: str, *, chaos_ms: int = CHAOS_MS) -> list[Fault]:
    """The faults without those that the failure does not need: halves first, then one by one."""
    size = max(1, len(faults) // 2)
    while size:
        at = 0
        while at < len(faults):
            fewer = faults[:at] + faults[at + size :]
            if run_seed(seed, fewer, chaos_ms=chaos_ms).checker == checker:
                faults = fewer
            else:
                at += size
        size //= 2
    return faults
