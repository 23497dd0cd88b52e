"""Policy `on_node_failure = spread`: the nodes that are left take the apps of a dead one, and a pause holds that."""

from __future__ import annotations

import pytest

from sdk.contract.events import AppPlaced, NodeDeclaredDown
from sdk.contract.requests import PauseWatch, ResumeWatch
from streams.local.rig import Rig
from tests.integration.checks import apps_on, check_end
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture
def rig(create_rig: CreateRig) -> Rig:
    """Three nodes with room for all six apps on two of them."""
    rig = create_rig("spread")
    rig.start(nodes=3, slots=4, policy={"on_node_failure": "spread"})
    rig.wait_active(3)
    return rig


def test_a_paused_node_that_dies_gives_its_apps_away_when_the_pause_ends(rig: Rig) -> None:
    """While it is paused nothing of it is placed; then its apps go to the two that live, and nobody else moves."""
    apps = rig.run_apps([f"application-{number}" for number in range(6)])
    before, since = rig.state(), rig.log.offset + 1
    victim = before.apps[apps[0]].node
    lost = apps_on(rig, victim)
    left = {app: before.apps[app].generation for app in apps if app not in lost}
    rig.ask(PauseWatch(victim, 600_000))

    rig.kill(rig.agent_pid(victim))
    rig.wait(lambda state: state.orders[str(state.nodes[victim].order)].ended, what="the end of its process")
    rig.wait_time(5.0)
    assert rig.accepted(NodeDeclaredDown, since) == []
    assert rig.accepted(AppPlaced, since) == []

    rig.ask(ResumeWatch(victim))
    rig.wait(lambda state: state.nodes[victim].status == "down", what="the verdict")
    rig.wait_running(apps)
    after = rig.state()
    homes = {after.apps[app].node for app in lost}
    assert homes <= {node for node, row in before.nodes.items() if node != victim}
    assert {app: after.apps[app].generation for app in left} == left
    assert sorted(event.app for _, event in rig.accepted(AppPlaced, since)) == lost
    check_end(rig, since, touched=[victim, *lost])
