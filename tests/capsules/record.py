"""Records incidents on a real platform of its own: `python -m tests.capsules.record FOLDER [NAME...]`. A test helper.

The capsules beside this file came from here. They are never made anew: what they hold happened once, and every later
version must come to the same verdicts.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from sdk.contract import events as e
from streams.local.rig import Rig
from streams.settings import Settings
from streams.travel.archive import Archive
from streams.travel.capsules import Capsule, write_capsule
from streams.travel.explaining import find_event
from streams.travel.logs import KafkaLog, open_log
from streams.travel.saving import make_capsule

APPS = ["application-1", "application-2", "application-3"]
#: How long the broker is away: over the silence limit, so that a wall clock would have accused everybody.
AWAY_S = 12
#: Calm before and after, s: enough to see that nothing follows.
CALM_S = 3


def kill_node(rig: Rig) -> int:
    """`kill -9` of the process group of a node that runs apps; the event that declares it down."""
    node = rig.node_of(APPS[0])
    rig.stop(rig.agent_pid(node), group=True)
    at = _wait_for(rig, e.NodeDeclaredDown)
    rig.wait_running(APPS, within_s=40)
    return at


def kill_agent(rig: Rig) -> int:
    """`kill -9` of an agent; the event by which its provisioner says so."""
    rig.kill(rig.agent_pid(rig.node_of(APPS[0])))
    at = _wait_for(rig, e.NodeExited)
    rig.wait_running(APPS, within_s=40)
    return at


def hang_app(rig: Rig) -> int:
    """An app that is there and does not beat; the event that calls it silent."""
    rig.stop(rig.app_pid(APPS[1]))
    at = _wait_for(rig, e.SourceFellSilent)
    rig.wait(lambda state: state.apps[APPS[1]].failures > 0, within_s=40)
    rig.wait_running(APPS, within_s=40)
    return at


def kill_broker(rig: Rig) -> int:
    """A broker that is away for longer than the limit; the last event before it."""
    assert rig.broker is not None
    before = rig.state().offset
    rig.broker.kill()
    rig.hold(AWAY_S)
    rig.broker.start()
    rig.wait_time(AWAY_S, what="the settling, and some")
    return before


def kill_leader(rig: Rig) -> int:
    """The leader dies, and an agent right after it; the term of the next one."""
    node = rig.node_of(APPS[0])
    pid, before = rig.agent_pid(node), rig.state().term.term
    rig.kill(rig.worker_pid(rig.leader()))
    rig.kill(pid)
    at = rig.wait(lambda state: state.term.term if state.term.term > before else 0, within_s=40)
    rig.wait_running(APPS, within_s=40)
    return at


def stop_most_nodes(rig: Rig) -> int:
    """Two of three nodes stand still until the brake is on; the event that engages it."""
    pids = [rig.agent_pid(node) for node in sorted(rig.state().nodes)[:2]]
    for pid in pids:
        rig.stop(pid, group=True)
    at = _wait_for(rig, e.BrakeEngaged)
    rig.wait_time(AWAY_S, what="their silence, which is held")
    for pid in pids:
        rig.cont(pid, group=True)
    _wait_for(rig, e.BrakeReleased)
    rig.wait_running(APPS, within_s=40)
    return at


INCIDENTS: dict[str, Callable[[Rig], int]] = {
    "node-killed": kill_agent,
    "node-silent": kill_node,
    "app-hung": hang_app,
    "leader-killed": kill_leader,
    "broker-away": kill_broker,
    "brake-engaged": stop_most_nodes,
}


def record(name: str, folder: Path) -> Capsule:
    """Let one incident happen on a platform of its own."""
    with Rig(folder) as rig:
        rig.start(workers=2, nodes=3, slots=4)
        rig.run_apps(APPS)
        rig.wait_time(CALM_S)
        at = INCIDENTS[name](rig)
        rig.wait_time(CALM_S)
        return asyncio.run(save(rig, at, folder))


async def save(rig: Rig, offset: int, folder: Path) -> Capsule:
    """The capsule around an event of a rig's log."""
    settings = Settings(bootstrap_servers=rig.bootstrap, prefix=rig.prefix, data_dir=str(folder))
    async with open_log(settings) as log:
        assert isinstance(log, KafkaLog)
        entry = await find_event(log, str(offset))
        return await make_capsule(
            settings, log, Archive(folder, log), entry, before_ms=30_000, after_ms=60_000
        )


def _wait_for(rig: Rig, kind: type[e.Event]) -> int:
    return rig.wait(
        lambda _: next((seen.offset for seen, _ in rig.accepted(kind)), 0), within_s=60, what=kind.__name__
    )


def main() -> None:
    """Record the incidents that were named, or all."""
    target, names = Path(sys.argv[1]), sys.argv[2:] or list(INCIDENTS)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            held = record(name, Path(folder))
        size = write_capsule(target / f"{name}.capsule", held)
        course = held.course
        sys.stdout.write(
            f"{name}: {held.end - held.start} events, {len(course.found)} facts, missed {course.missed}, "
            f"unwritten {course.unwritten}, {size:,} bytes\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
