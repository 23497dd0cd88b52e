"""Room on a node that somebody asked for: granted once, kept, used or given back."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract import events as e
from sdk.contract.codec import Asked
from sdk.contract.policy import Policy
from sdk.contract.requests import ConfigurePool, RequestNode, RunApp, ShutdownNode, StopApp
from sdk.contract.specs import AppSpec
from tables.admit import admit
from tables.decide import decide
from tables.invariants import check_invariants
from tables.questions import used_slots
from tables.state import State
from tests.tables.chaos import planned_log
from tests.tables.entries import Entry, FakeWitness, fold_entry, saved_and_loaded
from tests.tables.virtual import POOL
from tests.tables.world import World, begin

_SEEDS = st.integers(0, 1 << 32)
_MANY = settings(max_examples=25)


def _ask(world: World, slots: int = 1, *, new: bool = False) -> int:
    """Ask for room; the grant."""
    event = world.ask(RequestNode(slots=slots, new=new))
    assert isinstance(event, e.NodeRequested)
    return world.log[-1].offset


def _node_of(world: World, grant: int) -> str:
    """Where a grant was given, empty if it was not (yet)."""
    return next((each.node for each in world.of_type(e.NodeGranted) if each.grant == grant), "")


def _granted(world: World, *grants: int) -> list[str]:
    """Wait for grants; their nodes."""
    world.run(20_000, lambda: all(_node_of(world, grant) for grant in grants))
    return [_node_of(world, grant) for grant in grants]


def test_a_free_node_is_granted_at_once() -> None:
    """Where a node has room, nothing is created, and the room counts as used."""
    world = begin(nodes=2)

    (node,) = _granted(world, _ask(world, slots=3))

    assert used_slots(world.state, node) == 3
    assert world.of_type(e.PoolEnlarged) == []
    world.check_replay()


def test_two_askers_never_get_the_same_slot() -> None:
    """Requests that come together share no slot: what fits nowhere brings a node of its own."""
    world = begin(3, nodes=1, slots=4)

    first, second, third = _granted(world, *(_ask(world) for _ in range(3)))

    assert first != second == third
    assert [enlarged.nodes for enlarged in world.of_type(e.PoolEnlarged)] == [2]
    assert len(world.active()) == 2


def test_a_request_when_all_nodes_are_occupied_creates_a_node() -> None:
    """Without a free slot the pool gets one node more, and the request that node."""
    world = begin(4, nodes=1)
    before = [row.node for row in world.active()]

    (node,) = _granted(world, _ask(world))

    assert node not in before
    assert len(world.active()) == 2
    assert decide(world.state, world.watcher) == []


def test_who_asks_for_a_new_node_gets_one_of_its_own() -> None:
    """Two that ask for new nodes get two, however free the old ones are, also after the first was used."""
    world = begin(nodes=1)
    first, second = _ask(world, new=True), _ask(world, new=True)
    world.run(20_000, lambda: bool(_node_of(world, first)))
    world.ask(RunApp(AppSpec("application-0", ["run"]), first))

    nodes = _granted(world, first, second)

    assert len({"node-10.0.0.1_8101", *nodes}) == 3
    assert len(world.active()) == 3


def test_an_app_with_a_grant_goes_to_its_node() -> None:
    """The room is taken by the app it was asked for, and by nobody else meanwhile."""
    world = begin(nodes=2, slots=2)
    grant = _ask(world, slots=2)
    (node,) = _granted(world, grant)
    others = world.run_apps(3)
    world.run(1_000, lambda: world.app(others[2]).pending_reason != "")

    world.ask(RunApp(AppSpec("application-mine", ["run"], slots=2), grant))
    world.run(5_000, lambda: world.app("application-mine").phase == "running")

    assert world.app("application-mine").node == node
    assert world.state.grants == {}
    assert all(world.app(app).node != node for app in others)


def test_a_grant_of_several_slots_serves_several_apps() -> None:
    """What an app does not take is kept for the next one."""
    world = begin(nodes=2)
    grant = _ask(world, slots=2)
    (node,) = _granted(world, grant)

    for number in range(2):
        world.ask(RunApp(AppSpec(f"application-mine-{number}", ["run"]), grant))
        world.run(5_000, world.all_run)

    assert {world.app(f"application-mine-{number}").node for number in range(2)} == {node}
    assert world.state.grants == {}


def test_an_unused_grant_expires() -> None:
    """Who asked and died holds nothing up: the room is free again after the policy's time, and the app is refused."""
    world = begin(nodes=1, policy=Policy(grant_within_ms=5_000))
    grant = _ask(world, slots=4)
    (node,) = _granted(world, grant)
    world.run(4_500)
    assert used_slots(world.state, node) == 4

    world.run(2_000, lambda: bool(world.of_type(e.GrantExpired)))

    assert world.of_type(e.GrantExpired)[0].reason == "unused"
    assert used_slots(world.state, node) == 0
    answer = world.ask(RunApp(AppSpec("application-late", ["run"]), grant))
    assert isinstance(answer, e.RequestRefused)
    assert answer.reason == f"grant: {grant} is not in force; it was used, or its time is over"


def test_an_app_whose_node_died_under_its_grant_is_placed_by_load() -> None:
    """A grant on a dead node is over; the app runs elsewhere."""
    world = begin(nodes=2)
    grant = _ask(world)
    (node,) = _granted(world, grant)
    world.agent(node).status = "exited"
    world.ask(RunApp(AppSpec("application-mine", ["run"]), grant))

    world.run(30_000, lambda: world.app("application-mine").phase == "running" and not world.state.grants)

    assert world.app("application-mine").node != node
    world.check_replay()


def test_a_grant_does_not_hold_up_a_shutdown() -> None:
    """A node that is shut down leaves although room is kept on it."""
    world = begin(nodes=2)
    (node,) = _granted(world, _ask(world))

    world.ask(ShutdownNode(node))
    world.run(5_000, lambda: world.state.nodes[node].status == "left")

    assert [expired.reason for expired in world.of_type(e.GrantExpired)] == ["node-gone"]


def test_a_request_is_refused_when_the_pool_is_at_its_maximum() -> None:
    """Two ask for the last node that the pool may have: one gets it, the other a reason."""
    world = begin(2, nodes=1, slots=2, policy=Policy(pool_nodes_max=2))
    first, second = _ask(world, slots=2), _ask(world, slots=2)

    _granted(world, first)

    (refused,) = world.of_type(e.GrantRefused)
    assert refused.grant == second
    assert refused.reason == "no node of pool-home has 2 free slots, and it has all 2 nodes it may have"


def test_a_request_is_refused_when_new_nodes_became_too_small() -> None:
    """A wish that no new node can meet any more is refused instead of being waited for."""
    world = begin(4, nodes=1)
    world.pool.fails = True
    grant = _ask(world, slots=4)
    world.ask(ConfigurePool("home", 1, 2))
    world.run(2_000, lambda: bool(world.of_type(e.GrantRefused)))
    assert world.of_type(e.GrantRefused)[0].grant == grant


def test_a_stopped_app_lets_go_of_its_grant() -> None:
    """An app that is not wanted any more does not come back to the room that was kept for it."""
    world = begin(nodes=1, slots=1)
    grant = _ask(world)
    _granted(world, grant)
    world.ask(RunApp(AppSpec("application-mine", ["run"], slots=2), grant))
    world.ask(StopApp("application-mine"))

    assert world.app("application-mine").grant == 0
    assert world.state.grants[str(grant)].node


def test_requests_in_an_outage_of_creation_ask_for_no_more_than_they_need() -> None:
    """While no node comes, the pool is enlarged once for what one node can hold."""
    world = begin(4, nodes=1)
    world.pool.mute = True
    grants = [_ask(world) for _ in range(4)]
    world.run(150_000)
    assert [enlarged.nodes for enlarged in world.of_type(e.PoolEnlarged)] == [2]
    assert len(world.state.grants) == 4

    world.pool.mute = False
    world.run(200_000, lambda: all(_node_of(world, grant) for grant in grants))
    assert world.state.pools[POOL].nodes == 2


def test_a_pool_with_more_nodes_than_it_ought_to_have_gets_one_more() -> None:
    """A wish that was lowered below what is there is raised to what is there and one more, in one decision."""
    world = begin(12, nodes=3)
    world.ask(ConfigurePool("home", 1, 4))

    (node,) = _granted(world, _ask(world))

    assert node not in {world.app(f"application-{number}").node for number in range(12)}
    assert [enlarged.nodes for enlarged in world.of_type(e.PoolEnlarged)] == [4]
    assert len(world.active()) == 4


@_MANY
@given(seed=_SEEDS)
def test_granted_room_is_given_to_nobody_else(seed: int) -> None:
    """Whatever is decided, apps and grants together never take more than a node has."""
    for state, witness, _ in planned_log(seed, 60):
        copy = saved_and_loaded(state)
        for event in decide(copy, witness):
            fold_entry(copy, Entry(copy.offset + 1, copy.now_ms, event))
            assert _overfull(copy) == []


def _overfull(state: State) -> list[str]:
    return [
        key
        for key, row in state.nodes.items()
        if row.status == "active" and used_slots(state, key) > row.slots
    ]


@_MANY
@given(seed=_SEEDS)
def test_every_request_is_answered_once(seed: int) -> None:
    """Along a log no request is granted twice, and none is granted that was refused or has expired."""
    for state, _, log in planned_log(seed, 60):
        answered = [
            each.event.grant for each in log if isinstance(each.event, e.NodeGranted | e.GrantRefused)
        ]
        assert len(set(answered)) == len(answered)
        assert not [key for key, row in state.grants.items() if not row.node and int(key) in answered]


# --- several pools --------------------------------------------------------------------------------------


class _Pools:
    """Two pools of one node each, in a fold of their log, with a witness that has heard everybody."""

    def __init__(self, *, most: int = 0) -> None:
        self.state = State()
        self.append(e.PlannerStarted("writer-1", 1))
        for number, name in enumerate(("away", "home")):
            pool = f"pool-{name}"
            self.append(e.PoolConfigured(f"request-{name}", pool, 1, 4, nodes_max=most))
            self.append(e.ProvisionerRegistered(pool, f"claim-{name}", 0, "boot", e.Position(0, number)))
            self.node(pool, 8_101 + number)

    def append(self, event: e.Event) -> int:
        """Fold one event, which must count; its offset."""
        outcome = fold_entry(self.state, Entry(self.state.offset + 1, 1_000 * self.state.offset, event))
        assert outcome.accepted, outcome.dropped
        return self.state.offset

    def node(self, pool: str, port: int, *, spare: bool = False) -> None:
        """A node of the pool registers."""
        order = self.append(
            e.NodeOrdered(term=0, based_on=0, policy=-1, pool=pool, slots=4, port_floor=1, spare=spare)
        )
        claim, at = f"claim-{port}", e.Position(0, port)
        self.append(
            e.NodeRegistered(
                f"node-10.0.0.1_{port}",
                claim,
                order,
                0,
                "10.0.0.1",
                port,
                pool,
                4,
                [],
                "boot",
                at,
                400,
                1_000,
            )
        )

    def ask(self, request: RequestNode) -> e.Event:
        """What a request is answered with in the end: granted, refused, or the last decision about it."""
        answer = admit(self.state, Asked(f"request-{self.state.offset}", request))
        self.append(answer)
        last: e.Event = answer
        while decisions := decide(self.state, FakeWitness()):
            for decision in decisions:
                self.append(decision)
                about = isinstance(decision, e.NodeGranted | e.GrantRefused | e.PoolEnlarged)
                last = decision if about else last
        return last


def test_who_names_no_pool_gets_room_wherever_it_is() -> None:
    """With one pool full, the other is asked; the fullest node that has the room is taken."""
    pools = _Pools()
    pools.ask(RequestNode("pool-away", 4))
    granted = pools.ask(RequestNode(slots=3))
    assert isinstance(granted, e.NodeGranted)
    assert granted.node == "node-10.0.0.1_8102"


def test_who_fits_nowhere_makes_a_pool_grow_that_may() -> None:
    """A pool at its maximum is passed over, and with a spare in one the answer comes at once."""
    pools = _Pools(most=1)
    pools.append(e.PoolConfigured("more", "pool-home", 1, 4, nodes_max=3, spares=1))
    pools.ask(RequestNode("pool-away", 4))
    pools.ask(RequestNode("pool-home", 4))
    enlarged = pools.ask(RequestNode(slots=2))
    assert isinstance(enlarged, e.PoolEnlarged)
    assert enlarged.pool == "pool-home"


def test_who_fits_in_no_pool_is_told_of_each() -> None:
    """The refusal says of every pool why."""
    pools = _Pools(most=1)
    pools.ask(RequestNode("pool-away", 4))
    pools.ask(RequestNode("pool-home", 4))
    refused = pools.ask(RequestNode(slots=2))
    assert isinstance(refused, e.GrantRefused)
    assert refused.reason == (
        "no node of pool-away has 2 free slots, and it has all 1 nodes it may have; "
        "no node of pool-home has 2 free slots, and it has all 1 nodes it may have"
    )


def test_processor_and_memory_are_kept_too() -> None:
    """Room is taken in all its kinds, used by the app that comes with the grant, and what no node has is refused."""
    pools = _Pools(most=1)
    first = pools.ask(RequestNode("pool-home", 1, cpu_percent=300, memory_mib=600))
    second = pools.ask(RequestNode("pool-home", 1, cpu_percent=200))
    never = pools.ask(RequestNode("pool-home", 1, memory_mib=2_000))
    assert isinstance(first, e.NodeGranted)
    assert isinstance(second, e.GrantRefused)
    assert isinstance(never, e.GrantRefused)
    assert never.reason == (
        "no node of pool-home has 1 slot and 2000 MiB free, and new ones have 4 slots, 4 cores and 1000 MiB"
    )
    app = AppSpec("application-a", ["run"], cpu_percent=300, memory_mib=600)
    pools.append(e.AppSubmitted("run", app, first.grant))
    for decision in decide(pools.state, FakeWitness()):
        pools.append(decision)
    assert pools.state.apps["application-a"].node == first.node
    assert pools.state.grants == {}
    assert check_invariants(pools.state) == []
