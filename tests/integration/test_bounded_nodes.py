"""Nodes that are processes with a size: all that runs on one is bounded together, on a whole platform."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import cgroups
from agents.cgroups import find_cgroups
from agents.disk import home_of
from sdk.contract.events import AppExited
from sdk.contract.requests import RunApp
from sdk.contract.specs import AppSpec
from streams.local.broker import LocalBroker
from streams.local.rig import Rig
from tests.integration.checks import apps_on, check_end

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

#: An agent takes some 60 MiB, an app of the rig 15.
_NODE_MIB = 320


@pytest.fixture
def rig(kafka: LocalBroker, tmp_path: Path) -> Iterator[Rig]:
    """Two nodes of 320 MiB and a core each."""
    if find_cgroups() is None:
        pytest.skip("this machine lets us make no control groups")
    with Rig(tmp_path / "rig", bootstrap=kafka.bootstrap) as rig:
        size = {"memory_mib": _NODE_MIB, "cpu_percent": 100}
        rig.set("pools", {"local": {"port_base": rig.port_base, "process": size}})
        rig.start(nodes=2, slots=4)
        rig.wait_active(2)
        yield rig


def test_a_node_with_a_size_bounds_its_apps_together_and_dies_without_a_trace(rig: Rig) -> None:
    """Who grows over it is killed and comes back, its neighbours run on; the next node has the same size."""
    apps = rig.run_apps(["application-0", "application-1"])
    groups = find_cgroups()
    assert groups is not None
    hog, since = "application-hog", rig.log.offset + 1
    pids = {app: rig.app_pid(app) for app in apps}
    rig.change_policy(app_backoff_ms=30_000)
    # A GiB at most, so that a bound that is missing fails this and nothing else.
    grow = "kept = []\nfor _ in range(256): kept.append(bytearray(4 << 20))\nimport time; time.sleep(600)"
    rig.ask(RunApp(AppSpec(hog, ["python3", "-c", grow], heartbeat="process")))
    (ended, *_) = rig.wait(
        lambda _: [event for _, event in rig.accepted(AppExited, since) if event.app == hog], what="its end"
    )
    assert ended.exit_code == -9
    assert {app: rig.app_pid(app) for app in apps} == pids
    node = ended.node
    assert "the node as a whole: 320 MiB and 100 % of a core" in rig.state().nodes[node].limits
    home = home_of(rig.folder / "nodes" / node)
    group = groups.group(cgroups.node_group_name(home))
    assert cgroups.memory_limit_mib(group) == _NODE_MIB
    assert rig.state().nodes[node].memory_mib == _NODE_MIB

    lost = apps_on(rig, node)
    rig.kill(rig.agent_pid(node))
    rig.wait(lambda state: state.nodes[node].status == "down", what="the killed node down")
    rig.wait_running([app for app in apps if app in lost] or apps)
    rig.wait_active(2)
    rig.wait(lambda _: not group.memory.exists(), what="the end of its group")
    assert {row.memory_mib for row in rig.state().nodes.values() if row.status == "active"} == {_NODE_MIB}
    check_end(rig, since, touched=[node, hog, *lost])
