"""Scenario 4: workers are killed and stopped while nodes and apps live on."""

from __future__ import annotations

import pytest

from sdk.contract.codec import Recorded
from sdk.contract.events import AppPlaced, Decision, PlannerStarted
from sdk.contract.heartbeats import Beat
from streams.local.rig import Rig, is_running
from tests.integration.checks import apps_on, check_end
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

APPS = [f"application-{number}" for number in range(6)]
WORKERS = ["service-worker-1", "service-worker-2"]
LEADER_STOPPED_S = 20
BOTH_STOPPED_S = 15
#: After a gap nobody is judged for 10 s of clock (settling): whatever would be judged wrongly is by then.
SETTLED_S = 13


@pytest.fixture(scope="module")
def rig(create_rig: CreateRig) -> Rig:
    """A platform with two workers."""
    rig = create_rig("workers")
    rig.start(nodes=3, slots=4)
    rig.run_apps(APPS)
    return rig


def test_killed_leader_is_followed_by_the_other(rig: Rig) -> None:
    """The other worker leads and brings back an app that died in the same moment."""
    rig_is_whole(rig)
    leader, since, app = rig.leader(), rig.log.offset + 1, APPS[0]
    generation = rig.state().apps[app].generation
    pid = rig.app_pid(app)

    rig.kill(rig.worker_pid(leader))
    rig.kill(pid)

    rig.wait(
        lambda state: is_running(state, app) and state.apps[app].generation > generation,
        what="the app running again",
    )
    assert rig.accepted(PlannerStarted, since)
    rig_is_whole(rig)
    check_end(rig, since, touched=[app, *WORKERS])


def test_both_workers_killed_come_back_and_go_on(rig: Rig) -> None:
    """An app that died while no worker ran is brought back by the first that does, and nothing else is touched."""
    rig_is_whole(rig)
    since, app = rig.log.offset + 1, APPS[1]
    generation = rig.state().apps[app].generation
    pid = rig.app_pid(app)

    for name in rig.workers:
        rig.kill(rig.worker_pid(name))
    rig.kill(pid)

    rig.wait(
        lambda state: is_running(state, app) and state.apps[app].generation > generation,
        within_s=30,
        what="the app running again",
    )
    rig_is_whole(rig)
    check_end(rig, since, touched=[app, *WORKERS])


def test_stopped_leader_is_followed_and_its_late_decisions_are_dropped(rig: Rig) -> None:
    """The other leads for 20 s; what the woken one still decides under its old term does not count."""
    rig_is_whole(rig)
    leader, since, app = rig.leader(), rig.log.offset + 1, APPS[2]
    old = rig.state().term
    generation = rig.state().apps[app].generation
    pid, stopped_ms = rig.worker_pid(leader), rig.log.tick_ms

    rig.stop(pid)
    rig.wait(lambda state: state.term.term > old.term, what="another leader")
    rig.kill(rig.app_pid(app))
    rig.wait(
        lambda state: is_running(state, app) and state.apps[app].generation > generation,
        what="the app running again",
    )
    rig.wait(lambda _: rig.log.tick_ms >= stopped_ms + LEADER_STOPPED_S * 1000, within_s=60, what="20 s")
    rig.cont(pid)

    rig_is_whole(rig)
    late = [
        str(seen)
        for seen in rig.events(since)
        if isinstance(seen.said, Recorded)
        and isinstance(seen.said.event, Decision)
        and seen.said.event.term == old.term
        and seen.outcome.accepted
    ]
    assert late == []
    assert rig.leader() in rig.workers
    check_end(rig, since, touched=[app, *WORKERS])


def test_both_workers_stopped_find_the_dead_and_spare_the_living(rig: Rig) -> None:
    """A node that dies in 15 s without any worker is replaced afterwards; nothing alive is restarted."""
    rig_is_whole(rig)
    since = rig.log.offset + 1
    victim = rig.node_of(APPS[3])
    lost = apps_on(rig, victim)
    pids = [rig.worker_pid(name) for name in rig.workers]

    for pid in pids:
        rig.stop(pid)
    rig.kill(rig.agent_pid(victim))
    rig.hold(BOTH_STOPPED_S)
    for pid in pids:
        rig.cont(pid)

    rig.wait(lambda state: state.nodes[victim].status == "down", within_s=30, what="the killed node down")
    rig.wait_running(APPS)
    rig_is_whole(rig)
    rig.wait_time(SETTLED_S)
    assert {event.app for _, event in rig.accepted(AppPlaced, since)} == set(lost)
    check_end(rig, since, touched=[victim, *lost, *WORKERS])


def rig_is_whole(rig: Rig) -> None:
    """Wait until both workers beat, one leads, and every app runs."""
    begin_ms = rig.log.tick_ms

    def is_beating(name: str) -> bool:
        newest = rig.log.newest(f"service-{name}")
        return newest is not None and isinstance(newest.said, Beat) and newest.append_ms > begin_ms

    rig.wait(
        lambda state: (
            all(is_beating(name) for name in rig.workers)
            and not any(state.sources[name].silent for name in WORKERS if name in state.sources)
        ),
        within_s=40,
        what="both workers beating",
    )
    rig.wait_running(APPS)
