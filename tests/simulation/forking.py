"""A fork: a world that goes on from a real moment, with faults, and what the platform does about them. Simulator."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sdk.contract import events as e
from tables.fold import Meta, fold
from tables.state import State, is_hosted
from tests.simulation.injecting import Injection, parse_injection, strike
from tests.simulation.loop import Work
from tests.simulation.past import Past, Teller, Told
from tests.simulation.run import without_gc
from tests.simulation.world import World, simulated_shell

#: Before the first fault somebody must lead and every agent must have read its orders: within so long.
STANDS_WITHIN_MS = 30_000
#: How often that is looked at.
LOOK_EVERY_MS = 100
#: How often somebody is told how far it is.
STEP_MS = 1_000


class Struck(NamedTuple):
    """A fault as it happened."""

    at_ms: int
    text: str
    #: What it hit.
    hit: str


class Loss(NamedTuple):
    """An app that did not run for a while, as the log says."""

    app: str
    #: Append times: of the event that took it away, and of the one that brought it back; -1 if none did.
    lost_at_ms: int
    back_at_ms: int
    #: Where it was and where it is.
    was_on: str
    is_on: str
    #: From the last fault before the loss until it was back, -1 if it was not.
    down_ms: int


class Forked(NamedTuple):
    """What happened in a fork."""

    began_ms: int
    #: When the fork stood, and whether it did in time.
    stood_ms: int
    stood: bool
    ended_ms: int
    struck: list[Struck]
    told: list[Told]
    losses: list[Loss]
    #: From the first fault until everything ran again that ran before: -1 if not; 0 if nothing was lost.
    whole_after_ms: int
    #: What is still missing at the end.
    missing: list[str]
    #: Append times at which the brake came and went, and whether it is on at the end.
    brake: list[tuple[int, str]]
    brake_is_on: bool


def run_fork(
    past: Past,
    faults: Sequence[str],
    *,
    for_ms: int,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Forked:
    """Go on from a moment for a while, with faults.

    Raises:
        ValueError: a fault is none, or about what does not run at that moment.
    """
    world = World(seed, shortcuts=False, past=past)
    teller = world.checks
    assert isinstance(teller, Teller)
    planned = [parse_injection(text, world) for text in faults]
    with simulated_shell(world), without_gc():
        stands = _stand(world)
        stood_ms = world.loop.now_ms
        ran = running(teller.state)
        struck: list[Struck] = []
        for injection in planned:
            world.loop.after(injection.at_ms, _blow(world, injection, struck))
        for passed_ms in [*range(0, for_ms, STEP_MS), for_ms]:
            world.loop.run_until(stood_ms + passed_ms)
            progress(passed_ms, for_ms)
    losses, whole_ms = _losses(past, teller.told, struck, ran, stood_ms)
    missing = sorted(ran - running(teller.state))
    first_ms = min((each.at_ms for each in struck), default=stood_ms)
    whole_after_ms = -1 if missing else 0 if whole_ms is None else whole_ms - first_ms
    brake = [
        (each.append_ms, type(each.said.event).__name__)
        for each in teller.told
        if not each.dropped and isinstance(each.said.event, e.BrakeEngaged | e.BrakeReleased)
    ]
    return Forked(
        began_ms=past.now_ms,
        stood_ms=stood_ms,
        stood=stands,
        ended_ms=world.loop.now_ms,
        struck=struck,
        told=teller.told,
        losses=losses,
        whole_after_ms=whole_after_ms,
        missing=missing,
        brake=brake,
        brake_is_on=teller.state.brake.engaged >= 0,
    )


def running(state: State) -> set[str]:
    """The apps that run undisturbed, and for each pool as many of its nodes as it has and wants, by number."""
    found = {
        app
        for app, row in state.apps.items()
        if row.wanted and row.phase == "running" and not row.silent and is_hosted(state, row)
    }
    for name, pool in state.pools.items():
        active = sum(
            row.pool == name and row.status == "active" and not row.silent for row in state.nodes.values()
        )
        found |= {f"node {number + 1} of {name}" for number in range(min(active, pool.nodes))}
    return found


def _stand(world: World) -> bool:
    """Wait until somebody leads and every agent that can has its orders."""
    loop, end_ms = world.loop, world.loop.now_ms + STANDS_WITHIN_MS
    while loop.now_ms < end_ms:
        loop.run_until(loop.now_ms + LOOK_EVERY_MS)
        agents = [node.agent for node in world.nodes.values()]
        agents += [provider.agent for provider in world.providers.values()]
        ready = all(
            agent is None or not agent.alive or agent.paused or agent.state.is_registered for agent in agents
        )
        leaders = [worker for worker in world.living_workers() if worker.planning.leads]
        if ready and leaders and leaders[0].watcher.is_fresh_everywhere():
            return True
    return False


def _blow(world: World, injection: Injection, struck: list[Struck]) -> Work:
    def fall() -> None:
        at_ms = world.loop.now_ms
        struck.append(Struck(at_ms, injection.text, strike(world, injection)))

    return fall


def _losses(
    past: Past, told: list[Told], struck: list[Struck], ran: set[str], stood_ms: int
) -> tuple[list[Loss], int | None]:
    """Apps lost and found again since the fork stood, and when everything was whole again, if it was not always."""
    state = State()
    state.load([*past.state.all_rows()], offset=past.state.offset, now_ms=past.state.now_ms)
    lost: dict[str, Loss] = {}
    done: list[Loss] = []
    whole_ms: int | None = None
    was_whole, before = True, running(state)
    for each in told:
        hosts = {app: row.node for app, row in state.apps.items()}
        fold(state, each.said, Meta(each.offset, each.append_ms))
        now = running(state)
        if each.append_ms >= stood_ms:
            for app in sorted((before - now) & ran & hosts.keys()):
                lost.setdefault(app, Loss(app, each.append_ms, -1, hosts[app], "", -1))
            for app in sorted(now & lost.keys()):
                loss = lost.pop(app)
                since_ms = max(
                    (s.at_ms for s in struck if s.at_ms <= loss.lost_at_ms), default=loss.lost_at_ms
                )
                done.append(
                    loss._replace(
                        back_at_ms=each.append_ms,
                        is_on=state.apps[app].node,
                        down_ms=each.append_ms - since_ms,
                    )
                )
            is_whole = ran <= now
            if is_whole and not was_whole:
                whole_ms = each.append_ms
            was_whole = is_whole
        before = now
    return sorted([*done, *lost.values()], key=lambda loss: (loss.lost_at_ms, loss.app)), whole_ms
