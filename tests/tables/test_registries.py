"""The Node DB and the Monitoring DB, with exactly the fields that the mission names."""

import msgspec

from sdk.contract.requests import RunApp
from sdk.contract.specs import AppSpec
from tables.registries import monitoring_db, node_db
from tests.tables.virtual import POOL
from tests.tables.world import begin

_FIRST, _SECOND, _THIRD = (f"node-10.0.0.1_{port}" for port in (8101, 8102, 8103))


def test_node_db_says_what_runs_where() -> None:
    """Full, half full and empty nodes are told apart, and a node with a service serves the platform."""
    world = begin(nodes=3, slots=2)
    for spec in (
        AppSpec("application-big", ["run"], slots=2),
        AppSpec("service-scheduler", ["run"]),
    ):
        world.ask(RunApp(spec))
        world.run(5_000, world.all_run)

    found = msgspec.to_builtins(node_db(world.state))

    assert found == {
        "number_of_nodes": 3,
        "unoccupied_node_ids": [_SECOND, _THIRD],
        "nodes": [
            {
                "node_id": _FIRST,
                "status": "active",
                "occupancy": "occupied",
                "type_of_service": "application",
                "applications": [
                    {"application_id": "application-big", "status": "running", "sensor_ids": []}
                ],
            },
            {
                "node_id": _SECOND,
                "status": "active",
                "occupancy": "unoccupied",
                "type_of_service": "platform",
                "applications": [
                    {"application_id": "service-scheduler", "status": "running", "sensor_ids": []}
                ],
            },
            {
                "node_id": _THIRD,
                "status": "free",
                "occupancy": "unoccupied",
                "type_of_service": "application",
                "applications": [],
            },
        ],
    }


def test_monitoring_db_counts_failures() -> None:
    """An app that failed once has a count of one and lives again."""
    world = begin(1, nodes=1)
    (copy,) = world.agent(_FIRST).copies.values()
    copy.end(1)
    world.run(5_000, lambda: world.app("application-0").failures == 1)
    world.run(5_000, world.all_run)

    assert msgspec.to_builtins(monitoring_db(world.state)) == {
        "nodes": [{"node_id": _FIRST, "status": 1, "failure_count": 0}],
        "applications": [
            {"application_id": "application-0", "status": 1, "failure_count": 1},
            {"application_id": POOL, "status": 1, "failure_count": 0},
        ],
    }


def test_monitoring_db_has_workers_and_provisioners_too() -> None:
    """What beats by itself and provisioners, by their pools, stand beside the apps; a silence is a failure."""
    world = begin(0, nodes=1)
    world.lone["service-worker-1"] = 0
    world.run(20_000, lambda: "service-worker-1" in world.state.sources)
    del world.lone["service-worker-1"]
    world.pool.due_ms = world.now_ms + 30_000
    world.run(
        25_000, lambda: world.state.sources["service-worker-1"].silent and world.state.pools[POOL].silent
    )
    world.run(30_000, lambda: not world.state.pools[POOL].silent)

    assert msgspec.to_builtins(monitoring_db(world.state))["applications"] == [
        {"application_id": "service-worker-1", "status": 0, "failure_count": 1},
        {"application_id": POOL, "status": 1, "failure_count": 1},
    ]


def test_a_dead_node_is_down_until_another_has_taken_its_place() -> None:
    """The registries list a node that died, with its apps, and its successor instead once it serves."""
    world = begin(1, nodes=2)
    victim = world.app("application-0").node
    world.pool.mute = True
    world.agent(victim).status = "exited"
    world.run(10_000, lambda: world.state.nodes[victim].status == "down")

    (entry,) = [node for node in node_db(world.state).nodes if node.node_id == victim]
    (health,) = [node for node in monitoring_db(world.state).nodes if node.node_id == victim]

    assert (entry.status, entry.applications[0].status) == ("down", "lost")
    assert victim not in node_db(world.state).unoccupied_node_ids
    assert (health.status, health.failure_count) == (0, 1)
    world.pool.mute = False
    world.run(200_000, lambda: world.ready(2) and world.all_run())
    assert victim not in [node.node_id for node in node_db(world.state).nodes]
    assert [node.status for node in node_db(world.state).nodes].count("down") == 0
