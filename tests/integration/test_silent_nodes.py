"""Scenarios 2 and 8: nodes that are stopped, one, most and all of them.

Nearly all of this is waiting for silence, so three platforms wait at the same time; each test asks for the
outcome of its own story.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from sdk.contract.events import BrakeEngaged, BrakeReleased, NodeDeclaredDown, NodeOrdered
from streams.local.processes import identify
from streams.local.rig import Rig, active_nodes
from tests.integration.checks import apps_on, check_end, ports_known
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

#: How long stopped nodes stay stopped. Source: the scenarios of the issue.
WOKEN_AFTER_S = 30
STOPPED_S = 25


@pytest.fixture(scope="module")
def stories(create_rig: CreateRig) -> Iterator[dict[str, Future[None]]]:
    """Start the platforms one after the other, then let all stories run at once."""
    told: dict[str, tuple[Rig, Callable[[Rig], None]]] = {
        "one": (create_rig("one"), tell_one_stopped),
        "most": (create_rig("most"), tell_most_stopped),
        "all": (create_rig("all"), tell_all_stopped),
    }
    for name, (rig, _) in told.items():
        rig.start(workers=1, nodes=4 if name == "most" else 3, slots=4)
        rig.run_apps([f"application-{number}" for number in range(6)])
    with ThreadPoolExecutor() as pool:
        yield {name: pool.submit(tell, rig) for name, (rig, tell) in told.items()}


def test_stopped_node_is_found_destroyed_and_replaced_and_a_woken_one_serves_anew(
    stories: dict[str, Future[None]],
) -> None:
    """A stopped group is destroyed; with that switched off, the woken agent stops its copies and registers anew."""
    stories["one"].result()


def test_three_of_four_nodes_stopped_are_held_by_the_brake(stories: dict[str, Future[None]]) -> None:
    """None of three stopped nodes is destroyed or replaced, and the brake ends when they are back."""
    stories["most"].result()


def test_all_nodes_stopped_are_held_by_the_brake(stories: dict[str, Future[None]]) -> None:
    """When every node is silent none is replaced, and the brake says that it is all of them."""
    stories["all"].result()


def tell_one_stopped(rig: Rig) -> None:
    """First a node that may be destroyed, then one that may not."""
    _tell_destroyed(rig)
    _tell_woken(rig)


def _tell_destroyed(rig: Rig) -> None:
    since = rig.log.offset + 1
    victim = rig.wait_active(3)[0]
    lost = apps_on(rig, victim)
    pid = rig.agent_pid(victim)
    process = identify(pid)

    rig.stop(pid, group=True)

    rig.wait(lambda state: state.nodes[victim].status == "down", within_s=20, what="the stopped node down")
    rig.wait_running(lost)
    assert process is not None
    assert identify(pid) != process
    assert rig.state().nodes[victim].down_reason == "silent"
    assert {rig.node_of(app) for app in lost}.isdisjoint({victim})
    generations = {app: row.generation for app, row in rig.state().apps.items()}
    assert all(copy.generation == generations[copy.app] for copy in rig.copies())
    check_end(rig, since, touched=[victim, *lost])


def _tell_woken(rig: Rig) -> None:
    rig.change_policy(destroy_silent_nodes=False)
    since = rig.log.offset + 1
    victim = rig.wait_active(3)[0]
    lost = apps_on(rig, victim)
    pid = rig.agent_pid(victim)
    before, stopped_ms = rig.state(), rig.log.tick_ms

    rig.stop(pid, group=True)

    rig.wait(lambda state: state.nodes[victim].status == "down", within_s=20, what="the stopped node down")
    rig.wait_running(lost)
    moved = {app: rig.state().apps[app].generation for app in lost}
    rig.wait(
        lambda _: rig.log.tick_ms >= stopped_ms + WOKEN_AFTER_S * 1000, within_s=60, what="30 s of silence"
    )
    rig.cont(pid, group=True)
    rig.wait(
        lambda state: (
            state.nodes[victim].status == "active"
            and state.nodes[victim].registration > before.nodes[victim].registration
        ),
        what="the woken node registered anew",
    )
    rig.wait(
        lambda _: all(copy.generation >= moved.get(copy.app, 0) for copy in rig.copies()),
        what="the stale copies gone",
    )
    after = rig.state()
    assert {app: after.apps[app].generation for app in lost} == moved
    assert apps_on(rig, victim) == []
    assert not after.nodes[victim].silent
    (free,) = rig.run_apps(["application-late"])
    assert rig.node_of(free) == victim
    check_end(rig, since, touched=[victim, *lost])


def tell_most_stopped(rig: Rig) -> None:
    """Three of four: they come back before the brake lets go."""
    _stop_for_a_while(rig, rig.wait_active(4)[:3], band="most")


def tell_all_stopped(rig: Rig) -> None:
    """All of three."""
    _stop_for_a_while(rig, rig.wait_active(3), band="all")


def _stop_for_a_while(rig: Rig, victims: list[str], *, band: str) -> None:
    since, ports = rig.log.offset + 1, ports_known(rig)
    pids = {node: rig.agent_pid(node) for node in victims}
    apps = {app: row.generation for app, row in rig.state().apps.items()}
    stopped_ms = rig.log.tick_ms

    for pid in pids.values():
        rig.stop(pid, group=True)

    rig.wait(lambda _: rig.log.tick_ms >= stopped_ms + STOPPED_S * 1000, within_s=60, what="25 s of silence")
    assert rig.state().brake.engaged >= 0
    assert {event.band for _, event in rig.accepted(BrakeEngaged, since)} <= {"most", band}
    assert rig.state().brake.band == band
    for pid in pids.values():
        rig.cont(pid, group=True)
    rig.wait(
        lambda state: all(not state.nodes[node].silent for node in victims), what="the nodes heard again"
    )
    rig.wait(lambda state: state.brake.engaged < 0, within_s=30, what="the brake released")
    assert rig.accepted(NodeDeclaredDown, since) == []
    assert rig.accepted(NodeOrdered, since) == []
    assert [event.reason for _, event in rig.accepted(BrakeReleased, since)] == ["calm"]
    assert ports_known(rig) == ports
    assert set(victims) <= set(active_nodes(rig.state()))
    rig.wait_running(apps)
    assert {app: row.generation for app, row in rig.state().apps.items()} == apps
    check_end(rig, since, touched=victims)
