"""Scenario 1: the agent of a node is killed."""

from __future__ import annotations

import pytest

from sdk.contract.events import AppPlaced
from tests.integration.checks import apps_on, check_end, ports_known
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def test_killed_agent_is_replaced_with_exactly_its_apps(create_rig: CreateRig) -> None:
    """A new node on a new port takes all four apps, each in a later generation, and none ever runs twice."""
    rig = create_rig("killed")
    rig.start(nodes=2, slots=4)
    apps = rig.run_apps([f"application-{number}" for number in range(8)])
    victim = rig.node_of(apps[0])
    lost = apps_on(rig, victim)
    before, ports, since = rig.state(), ports_known(rig), rig.log.offset + 1

    with rig.watch_copies() as copies:
        rig.kill(rig.agent_pid(victim))
        rig.wait(lambda state: state.nodes[victim].status == "down", what="the killed node down")
        rig.wait_running(apps)

    after = rig.state()
    (new,) = {after.apps[app].node for app in lost}
    assert len(lost) == 4
    assert new not in before.nodes
    assert after.nodes[new].port > max(ports)
    assert apps_on(rig, new) == lost
    assert all(after.apps[app].generation > before.apps[app].generation for app in lost)
    assert after.nodes[victim].failures == 1
    assert [after.apps[app].failures for app in apps] == [0] * 8
    assert copies.doubles == []
    assert {placed.app for _, placed in rig.accepted(AppPlaced, since)} == set(lost)
    check_end(rig, since, touched=[victim, *lost])


def test_platform_of_one_node_heals_when_it_dies(create_rig: CreateRig) -> None:
    """The only node of a platform is replaced: the brake is for many nodes."""
    rig = create_rig("single")
    rig.start(workers=1, nodes=1, slots=2)
    (app,) = rig.run_apps(["application-lonely"])
    victim, since = rig.node_of(app), rig.log.offset + 1

    rig.kill(rig.agent_pid(victim))

    rig.wait(lambda state: state.nodes[victim].status == "down", what="the killed node down")
    rig.wait_running([app])
    assert rig.node_of(app) != victim
    check_end(rig, since, touched=[victim, app])
