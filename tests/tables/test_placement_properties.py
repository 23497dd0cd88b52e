"""Whatever the nodes, apps and wishes: placement gives the plain answer, and never a wrong one."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract import events as e
from sdk.contract.policy import STRATEGIES, Policy
from sdk.contract.specs import AppSpec, Constraint
from tables.decide import decide
from tables.fold_moves import takes_apps
from tables.placement import Choice, choose_node
from tables.plan import Plan
from tables.questions import taken_on
from tables.room import capacity_of
from tables.rows import ONLY, AppRow, NodeRow, OrderRow, PolicyRow, PoolRow
from tables.state import State
from tables.witness import Load
from tests.tables.entries import FakeWitness
from tests.tables.plain_placement import Placed, choose_plainly

_AT_MS = 1_700_000_000_000
_POOLS = ("pool-a", "pool-b")
_GROUPS = ("", "web", "db")


def _names(numbers: list[int]) -> list[str]:
    return [f"node-a_{number}" for number in numbers]


_nodes = st.fixed_dictionaries(
    {
        "pool": st.sampled_from(_POOLS),
        "slots": st.integers(0, 6),
        "cpu_percent": st.sampled_from((0, 200, 400)),
        "memory_mib": st.sampled_from((0, 1_000, 4_000)),
        "drivers": st.sampled_from(([], ["process"], ["docker"], ["docker", "process"])),
        "status": st.sampled_from(("active",) * 8 + ("down", "left")),
        "silent": st.sampled_from((False,) * 8 + (True,)),
        "draining": st.sampled_from((False,) * 8 + (True,)),
        "cordoned": st.sampled_from((False,) * 8 + (True,)),
        "quarantined": st.sampled_from((False,) * 8 + (True,)),
    }
)
_constraints = st.lists(
    st.builds(
        Constraint,
        key=st.sampled_from(("pool", "node")),
        values=st.sampled_from(([_POOLS[0]], ["node-a_2"], ["node-a_1", _POOLS[1]])),
        op=st.sampled_from(("=", "!=", "!=")),
    ),
    max_size=2,
)
_specs = st.fixed_dictionaries(
    {
        "slots": st.integers(1, 3),
        "cpu_percent": st.sampled_from((0, 0, 30, 150)),
        "memory_mib": st.sampled_from((0, 0, 200, 900)),
        "priority": st.sampled_from((50, 50, 10, 90)),
        "group": st.sampled_from(_GROUPS),
        "affinity": st.sampled_from(_GROUPS),
        "spread": st.booleans(),
        "on_failure": st.sampled_from(("other-node", "same-node")),
        "constraints": st.one_of(st.just([]), st.just([]), _constraints),
    }
)
_apps = st.fixed_dictionaries(
    {
        "spec": _specs,
        "place": st.integers(0, 30),
        "failed_on": st.lists(st.integers(1, 9), max_size=3, unique=True),
        "failed_ago_ms": st.sampled_from((1_000, 700_000)),
    }
)
_loads = st.dictionaries(
    st.integers(1, 40), st.tuples(st.integers(0, 1_500), st.integers(0, 1_000)), max_size=10
)


def _state(nodes: list[dict[str, Any]], apps: list[dict[str, Any]], policy: Policy) -> State:
    """Nodes with apps on them as far as there is room, the others pending."""
    state = State()
    state.now_ms = _AT_MS
    state.put("policy", ONLY, PolicyRow(policy))
    for pool in _POOLS:
        state.put("pools", pool, PoolRow(pool))
    for number, node in enumerate(nodes, start=1):
        name = f"node-a_{number}"
        state.put("orders", str(number), OrderRow(number, node["pool"], 4, 1, 0))
        row = NodeRow(
            name, ip="a", port=number, boot_id="b", claim=name, order=number, registration=number,
            lineage=number, registered_at_ms=0, since_ms=0, partition=0, seen=0, **node,
        )  # fmt: skip
        state.put("nodes", name, row)
    for number, app in enumerate(apps):
        spec = AppSpec(f"application-{number}", ["run"], **app["spec"])
        failed = _names(app["failed_on"])
        pending = AppRow(
            spec.app, spec, True, "pending", 0, failed_on=failed, submitted_at_ms=number % 3,
            recent_failures=[_AT_MS - app["failed_ago_ms"]] * len(failed), node=failed[0] if failed else "",
        )  # fmt: skip
        state.put("apps", spec.app, pending)
        _settle(state, pending, app["place"])
    state.offset = 1_000
    return state


def _settle(state: State, app: AppRow, place: int) -> None:
    """Let the app run on the node of that number, if there is one with room."""
    row = state.nodes.get(f"node-a_{place}")
    if row is None or row.status != "active":
        return
    running = AppRow(
        app.app, app.spec, True, "running", 0, node=row.node, lineage=row.lineage, placed_spec=app.spec
    )
    state.put("apps", app.app, running)
    if not taken_on(state, row.node).fits(capacity_of(row)):
        state.put("apps", app.app, app)


def _witness(seed: int, loads: dict[int, tuple[int, int]]) -> FakeWitness:
    witness = FakeWitness(seed, certain=seed % 3 > 0)
    witness.loads = {
        f"node-a_{number}": Load(*load, e.Position(number % 8, number)) for number, load in loads.items()
    }
    return witness


_cases = {
    "nodes": st.lists(_nodes, max_size=12),
    "apps": st.lists(_apps, max_size=25),
    "strategy": st.sampled_from(STRATEGIES),
    "seed": st.integers(0, 99),
    "loads": _loads,
}


@given(**_cases)
@settings(max_examples=200, deadline=None)
def test_answer_is_that_of_a_plain_look_at_every_node(
    nodes: list[Any], apps: list[Any], strategy: str, seed: int, loads: dict[int, tuple[int, int]]
) -> None:
    """For each app in turn: the same node, the same scores, the same counts and the same reason."""
    state = _state(nodes, apps, Policy(strategy=strategy))
    plan = Plan(state, _witness(seed, loads))
    placed: Placed = []
    for app in [row for row in state.apps.values() if row.phase == "pending"]:
        plain = choose_plainly(plan, app, placed)
        choice = choose_node(plan, app)
        assert choice == plain
        if isinstance(choice, Choice):
            plan.take(choice.node, app.spec)
            placed.append((choice.node, app))


@given(
    nodes=st.integers(70, 200),
    count=st.integers(50, 300),
    strategy=st.sampled_from(STRATEGIES),
    seed=st.integers(0, 9),
)
@settings(max_examples=15, deadline=None)
def test_answer_is_the_plain_one_with_many_nodes(nodes: int, count: int, strategy: str, seed: int) -> None:
    """The same with so many nodes that their order is cut into several blocks."""
    import random

    chance = random.Random(seed)
    rows: list[dict[str, Any]] = [
        {"pool": _POOLS[n % 2], "slots": chance.randint(1, 9), "cpu_percent": chance.choice((0, 400)),
         "memory_mib": 4_000, "drivers": [], "status": "active", "silent": False, "draining": False}
        for n in range(nodes)
    ]  # fmt: skip
    apps = [
        {"spec": {"slots": chance.randint(1, 3), "cpu_percent": chance.choice((0, 50, 170)), "memory_mib":
         chance.choice((0, 100, 1_500)), "group": chance.choice(_GROUPS), "affinity": chance.choice(_GROUPS)},
         "place": chance.randint(0, nodes * 2), "failed_on": [], "failed_ago_ms": 0}
        for _ in range(count)
    ]  # fmt: skip
    state = _state(rows, apps, Policy(strategy=strategy))
    plan, placed = Plan(state, FakeWitness()), Placed()
    for number, app in enumerate([row for row in state.apps.values() if row.phase == "pending"]):
        choice = choose_node(plan, app)
        if number % 10 == 0:
            assert choice == choose_plainly(plan, app, placed)
        if isinstance(choice, Choice):
            plan.take(choice.node, app.spec)
            placed.append((choice.node, app))


@given(**_cases)
@settings(max_examples=150, deadline=None)
def test_never_over_capacity_and_never_on_a_node_that_takes_none(
    nodes: list[Any], apps: list[Any], strategy: str, seed: int, loads: dict[int, tuple[int, int]]
) -> None:
    """All placements of one call together fit, on nodes that are active, heard, not silent, and take apps."""
    state = _state(nodes, apps, Policy(strategy=strategy))
    witness = _witness(seed, loads)
    free = {node: capacity_of(row).minus(taken_on(state, node)) for node, row in state.nodes.items()}
    for decision in decide(state, witness):
        if not isinstance(decision, e.AppPlaced):
            continue
        spec, row = state.apps[decision.app].spec, state.nodes[decision.node]
        assert row.status == "active"
        assert takes_apps(row)
        assert witness.confirm_heard(row.node) is not None
        assert all((getattr(row, each.key) in each.values) == (each.op == "=") for each in spec.constraints)
        room = free[row.node]
        free[row.node] = room._replace(
            slots=room.slots - spec.slots,
            cpu_percent=room.cpu_percent - spec.cpu_percent,
            memory_mib=room.memory_mib - spec.memory_mib,
        )
        assert min(free[row.node]) >= 0


@given(**_cases)
@settings(max_examples=60, deadline=None)
def test_same_input_gives_the_same_answer(
    nodes: list[Any], apps: list[Any], strategy: str, seed: int, loads: dict[int, tuple[int, int]]
) -> None:
    """Nothing depends on the order in which rows came to be."""
    state = _state(nodes, apps, Policy(strategy=strategy))
    other = State()
    other.load(reversed(list(state.all_rows())), offset=state.offset, now_ms=state.now_ms)
    assert decide(other, _witness(seed, loads)) == decide(state, _witness(seed, loads))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_priority_then_age_decides_who_gets_the_last_room(strategy: str) -> None:
    """With room for one, the app of the highest priority gets it; among equals the one that waited longest."""
    node = {"pool": _POOLS[0], "slots": 2, "cpu_percent": 0, "memory_mib": 0, "drivers": [], "status": "active",
            "silent": False, "draining": False}  # fmt: skip
    apps = [
        {"spec": {"priority": priority}, "place": 0, "failed_on": [], "failed_ago_ms": 0}
        for priority in (50, 20, 50, 90)
    ]
    state = _state([node], apps, Policy(strategy=strategy))
    decisions = decide(state, FakeWitness())
    assert [d.app for d in decisions if isinstance(d, e.AppPlaced)] == ["application-3", "application-0"]
    assert [(d.app, d.fell_out) for d in decisions if isinstance(d, e.AppLeftPending)] == [
        ("application-2", {"slots": 1}),
        ("application-1", {"slots": 1}),
    ]
