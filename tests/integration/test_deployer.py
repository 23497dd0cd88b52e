"""Scenario: a deployer asks for nodes and runs apps on them, through the SDK."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from sdk.contract.events import GrantExpired, PoolEnlarged
from sdk.contract.ids import node_id
from sdk.deployer import (
    AppSpec,
    Deployer,
    Grant,
    KafkaAwayError,
    Needs,
    NotAnsweredError,
    RefusedError,
    create_new_node,
    get_list_of_active_node,
)
from streams.local.rig import BEATING, Rig
from tables.questions import used_slots
from tests.integration.checks import check_end
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def rig(create_rig: CreateRig) -> Rig:
    """Return a platform of two nodes with two slots each."""
    rig = create_rig("deployer")
    rig.start(nodes=2, slots=2)
    return rig


@pytest.fixture
def deployer(rig: Rig) -> Iterator[Deployer]:
    """Return a deployer on that platform."""
    with Deployer(rig.bootstrap, rig.prefix) as deployer:
        yield deployer


def _spec(name: str) -> AppSpec:
    return AppSpec(f"application-{name}", BEATING)


def _fill(rig: Rig) -> list[str]:
    """Occupy every slot of every node."""
    state = rig.state()
    assert not state.grants
    free = sum(
        row.slots - used_slots(state, row.node) for row in state.nodes.values() if row.status == "active"
    )
    first = len(state.apps)
    return rig.run_apps([f"application-filler-{first + number}" for number in range(free)])


def test_request_when_all_nodes_are_occupied_creates_a_node_and_returns_its_id(
    rig: Rig, deployer: Deployer
) -> None:
    """The first of the mission's test cases: no node has room, so there is a new one, and the app runs there."""
    since = rig.log.offset + 1
    rig.change_policy(grant_within_ms=60_000)
    _fill(rig)
    before = {node.node for node in deployer.list_nodes()}
    assert [node.slots_free for node in deployer.list_nodes()] == [0] * len(before)

    grant = deployer.request_node()

    assert grant.node == node_id(grant.ip, grant.port)
    assert grant.node not in before
    assert {node.node for node in deployer.list_nodes()} == before | {grant.node}
    assert f"{grant.ip} {grant.port}" in deployer.get_list_of_active_node().split(":")
    assert deployer.run_app(_spec("wanted"), grant=grant).node == grant.node
    check_end(rig, since)


def test_two_callers_at_once_never_get_the_same_slot(rig: Rig) -> None:
    """Four callers at the same moment share no slot, and each app lands on the node its caller was given."""
    since = rig.log.offset + 1
    rig.change_policy(grant_within_ms=60_000)
    _fill(rig)
    grants: dict[int, Grant] = {}
    gate = threading.Barrier(4)

    def call(number: int) -> None:
        with Deployer(rig.bootstrap, rig.prefix) as deployer:
            gate.wait()
            grants[number] = deployer.request_node()
            app = deployer.run_app(_spec(f"raced-{number}"), grant=grants[number])
            assert app.node == grants[number].node

    _run_all([threading.Thread(target=call, args=(number,)) for number in range(4)])

    nodes = [grant.node for grant in grants.values()]
    assert len(nodes) == 4
    assert all(nodes.count(node) <= 2 for node in nodes)
    assert len({grant.grant for grant in grants.values()}) == 4
    assert len(rig.accepted(PoolEnlarged, since)) == 2
    check_end(rig, since)


def _run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(150)
    assert not [thread for thread in threads if thread.is_alive()]


def test_functions_of_the_mission_return_its_words(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """`create_new_node` returns ip and port, and the list of active nodes has them all, in a stable order."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", rig.bootstrap)
    monkeypatch.setenv("WATCHKEEP_PREFIX", rig.prefix)
    rig.change_policy(grant_within_ms=1_000)
    before = get_list_of_active_node()

    created = create_new_node()

    assert created not in before
    listed = get_list_of_active_node().split(":")
    assert listed == sorted([*before.split(":"), created], key=lambda node: int(node.split()[1]))
    nodes = {f"{row.ip} {row.port}" for row in rig.state().nodes.values() if row.status == "active"}
    assert set(listed) == nodes
    rig.wait(lambda state: not state.grants, what="the grant expired")


def test_unused_grant_of_a_dead_caller_expires(rig: Rig) -> None:
    """Who asked and went away holds up nobody for longer than the policy says."""
    since = rig.log.offset + 1
    rig.change_policy(grant_within_ms=2_000)
    with Deployer(rig.bootstrap, rig.prefix) as caller:
        grant = caller.request_node(Needs(slots=2))

    rig.wait(lambda state: not state.grants, what="the grant expired")

    assert [
        expired.reason for _, expired in rig.accepted(GrantExpired, since) if expired.grant == grant.grant
    ] == ["unused"]
    with (
        Deployer(rig.bootstrap, rig.prefix) as late,
        pytest.raises(RefusedError, match="is not in force; it was used, or its time is over"),
    ):
        late.run_app(_spec("late"), grant=grant)


def test_apps_and_nodes_go_when_asked(rig: Rig, deployer: Deployer) -> None:
    """A node is emptied, an app stopped and the node taken away, each done when the call returns."""
    rig.change_policy(grant_within_ms=1_000)
    for _ in range(2):
        deployer.create_new_node()
    rig.wait(lambda state: not state.grants, what="the grants expired")
    rig.change_policy(grant_within_ms=60_000)
    grant = deployer.request_node()
    app = deployer.run_app(_spec("short"), grant=grant)

    deployer.drain_node(grant.node)
    (drained,) = [node for node in deployer.list_nodes() if node.node == grant.node]
    assert (drained.status, drained.apps) == ("cordoned", [])
    assert rig.state().apps[app.app].node != grant.node
    deployer.stop_app(app.app)
    deployer.shutdown_node(grant.node)

    assert rig.state().apps[app.app].phase == "stopped"
    assert rig.state().nodes[grant.node].status == "left"
    assert grant.node not in {node.node for node in deployer.list_nodes()}


def test_refusal_says_why(deployer: Deployer) -> None:
    """A wish that cannot be met is an error with the reason."""
    with pytest.raises(RefusedError, match="slots: 9 is out of range; a node of pool-local has 1 to 2"):
        deployer.request_node(Needs(slots=9))


def test_nodes_can_be_read_and_requests_say_so_when_no_worker_runs(create_rig: CreateRig) -> None:
    """With every worker down the nodes are as they were published, and a request is not answered."""
    rig = create_rig("unwatched")
    rig.start(workers=1, nodes=1)
    with Deployer(rig.bootstrap, rig.prefix) as deployer:
        before = deployer.list_nodes()
        for worker in rig.workers.values():
            worker.kill()

        assert deployer.list_nodes() == before
        with pytest.raises(NotAnsweredError, match="Nobody answered within 1 s; the request stands"):
            deployer.request_node(timeout_s=1.0)


def test_a_kafka_that_is_away_is_said_in_one_sentence() -> None:
    """Without Kafka there is a plain error, soon."""
    with pytest.raises(
        KafkaAwayError, match=r"No Kafka with the topics of `watchkeep` answers at 127.0.0.1:1\."
    ):
        Deployer("127.0.0.1:1", "watchkeep")
