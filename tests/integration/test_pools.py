"""Two pools on one platform: a warm spare takes the apps of a dead node, and room is asked of whichever has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from sdk.contract.events import NodeGranted, NodeOrdered, PoolEnlarged, SpareTaken
from sdk.contract.requests import ConfigurePool, RequestNode, ShutdownNode
from sdk.deployer import Deployer, Needs, RefusedError
from streams.local.broker import LocalBroker
from streams.local.rig import POOL, Rig, active_nodes
from tables.pools import is_takeable, spares_of
from tables.registries import node_db
from tables.state import State
from tests.integration.checks import apps_on, check_end

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture
def rig(kafka: LocalBroker, tmp_path: Path) -> Iterator[Rig]:
    """Two pools with provisioners of their own: two nodes and a spare here, one node there."""
    pools: dict[str, dict[str, object]] = {"local": {}, "away": {}}
    with Rig(tmp_path / "rig", bootstrap=kafka.bootstrap) as rig:
        pools["local"]["port_base"], pools["away"]["port_base"] = rig.port_base, rig.port_base + 50
        rig.set("pools", pools)
        rig.start(nodes=2, slots=4)
        rig.ask(ConfigurePool("local", 2, 4, nodes_min=2, nodes_max=4, spares=1))
        rig.ask(ConfigurePool("away", 1, 4, nodes_max=2))
        rig.wait(lambda state: len(active_nodes(state)) == 4, what="both pools and the spare")
        yield rig


def _standing_by(state: State) -> list[str]:
    return [row.node for row in spares_of(state, POOL) if is_takeable(row)]


def test_a_spare_takes_all_apps_of_a_killed_node_and_the_pool_is_refilled(rig: Rig) -> None:
    """After `kill -9` the four apps run on the spare, another spare stands by, and nobody else was touched."""
    apps = rig.run_apps([f"application-{number}" for number in range(12)])
    before, since = rig.state(), rig.log.offset + 1
    (spare,) = _standing_by(before)
    victim = next(
        row.node for row in before.nodes.values() if row.pool == POOL and before.apps_of_node.get(row.node)
    )
    lost = apps_on(rig, victim)
    assert spare not in {before.apps[app].node for app in apps}

    with rig.watch_copies() as copies:
        rig.kill(rig.agent_pid(victim))
        rig.wait(lambda state: state.nodes[victim].status == "down", what="the killed node down")
        rig.wait_running(apps)

    after = rig.wait(lambda state: state if _standing_by(state) else None, what="another spare")
    assert len(lost) == 4
    assert apps_on(rig, spare) == lost
    assert [taken.replaces for _, taken in rig.accepted(SpareTaken, since)] == [victim]
    (order,) = [order for _, order in rig.accepted(NodeOrdered, since)]
    assert (order.pool, order.spare) == (POOL, True)
    assert _standing_by(after) != [spare]
    assert copies.doubles == []
    check_end(rig, since, touched=[victim, *lost])


def test_room_is_found_in_any_pool_and_the_one_that_may_grow_grows(rig: Rig) -> None:
    """All nodes are full: who names no pool gets one of the pool that has a spare, and that is the spare."""
    rig.run_apps([f"application-{number}" for number in range(12)])
    since = rig.log.offset + 1
    (spare,) = _standing_by(rig.state())

    grant = rig.ask(RequestNode(slots=2))
    granted = rig.wait(
        lambda _: next(iter(rig.accepted(NodeGranted, since)), None), what="room in some pool"
    )[1]

    assert granted.grant == grant.offset
    assert [enlarged.pool for _, enlarged in rig.accepted(PoolEnlarged, since)] == [POOL]
    assert granted.node == spare
    rig.wait(_standing_by, what="another spare")


def test_people_and_programs_ask_for_what_pools_have(rig: Rig) -> None:
    """The deployer asks for processor and memory; `pools` shows and sets; nobody shuts down below the minimum."""
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    with Deployer(rig.bootstrap, rig.prefix) as deployer:
        assert deployer.request_node(Needs(1, cpu_percent=10, memory_mib=10)).node
        with pytest.raises(RefusedError, match="no node of pool-away has 1 slot and"):
            deployer.request_node(Needs(1, memory_mib=64 << 20))

    changed = CliRunner().invoke(main, ["pools", "set", "local", "--max", "5", *where])
    shown = CliRunner().invoke(main, ["pools", "show", "local", *where])
    listed = CliRunner().invoke(main, ["nodes", "list", *where])
    unknown = CliRunner().invoke(main, ["pools", "show", "nowhere", *where])
    state = rig.wait(
        lambda state: state if state.pools[POOL].nodes_max == 5 else None, what="a larger maximum"
    )
    row = state.pools[POOL]
    serving = next(
        each.node
        for each in state.nodes.values()
        if each.pool == POOL and not each.spare and each.status == "active"
    )
    answer = rig.ask(ShutdownNode(serving))
    entry = next(node for node in node_db(rig.state()).nodes if node.node_id == _standing_by(state)[0])

    assert (row.nodes, row.spares, row.nodes_min, row.slots) == (2, 1, 2, 4)
    assert changed.output.startswith("local: 2 nodes, 1 spares, 2 to 5 in all"), changed.output
    assert "at most 5 in all" in shown.output
    assert "spare" in listed.output
    assert "away" in listed.output
    assert (unknown.exit_code, "there are: away, local" in unknown.output) == (3, True)
    assert "must keep 2 nodes" in str(answer.said)
    assert (entry.status, entry.occupancy) == ("free", "occupied")
    assert rig.verify() == []
