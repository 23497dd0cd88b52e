"""Nodes as machines of a cloud on this machine: what the contract of every provider does not ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from libcloud.compute.types import NodeState

from agents import cloud_calls, cloud_provider
from agents.cloud_provider import CloudProvider, Pace
from agents.machines import CloudError
from agents.provider import CreateError
from sdk.contract.orders import NodeOrder
from tests.agents.waiting import until
from tests.cloud.local import PACE, LocalCloud, local_pool, naming_of

Exits = list[tuple[Any, ...]]
Act = Callable[[CloudProvider, Exits], Awaitable[None]]
FIRST_PORT = 18_400


class Pool:
    """Providers over one folder and one cloud."""

    def __init__(self, folder: Path) -> None:
        self.cloud = LocalCloud(folder / "machines")
        self.config = local_pool(folder)
        self.naming = naming_of(self.config)
        self.answers: list[int] = []

    def play(self, act: Act, pace: Pace = PACE) -> None:
        """Run `act` with a fresh provider."""

        async def run() -> None:
            provider = self.cloud.provider(self.config, pace)
            exits: Exits = []
            provider.on_exit = lambda *exit_: exits.append(exit_)
            provider.on_answer = self.answers.append
            try:
                await act(provider, exits)
            finally:
                self.cloud.answers.set()
                provider.close()

        asyncio.run(run())

    def wish(self, order: int = 80) -> NodeOrder:
        """An order."""
        return NodeOrder(order, 4, FIRST_PORT)

    def make(self, order: int, owner: str = "", **extra: Any) -> str:
        """A machine that the provider did not make in this life; its name."""
        naming = self.naming
        driver = self.cloud.connector(self.config)()._driver
        name = naming.name_of(order) if not owner else f"test-home-{owner}-{order}"
        tags = (
            naming.tags_of(order) if not owner else {"watchkeep-owner": owner, "watchkeep-order": str(order)}
        )
        node = driver.create_node(name, None, None, '#cloud-config\n{"write_files": [], "runcmd": []}', tags)
        node.extra.update(extra)
        return name


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """A pool; its machines end with the test."""
    pool = Pool(tmp_path)
    yield pool
    pool.cloud.close()


async def look_until(provider: CloudProvider, is_so: Callable[[], object]) -> None:
    """Let the provider keep house until the condition holds."""
    async with asyncio.timeout(20.0):
        while not is_so():
            await provider.tidy()
            await asyncio.sleep(0.01)


def test_agent_answers_at_the_address_of_its_machine(pool: Pool) -> None:
    """The agent finds its address by itself, and it is the one that the cloud told the provider."""

    async def act(provider: CloudProvider, exits: Exits) -> None:
        node, pid = await provider.create(80, pool.wish())
        assert (node, pid) == (f"node-127.0.1.1_{FIRST_PORT}", 0)
        await until(lambda: pool.answers == [80])

    pool.play(act)
    (node,) = pool.cloud.nodes
    assert node.name == pool.naming.name_of(80)
    assert node.extra["metadata"] == {"team": "tests", **pool.naming.tags_of(80)}


def test_book_is_written_before_the_cloud_is_asked(pool: Pool) -> None:
    """A provisioner that dies during the call knows the order and the port afterwards, and makes the same node."""
    pool.cloud.answers.clear()

    async def dies(provider: CloudProvider, exits: Exits) -> None:
        creating = asyncio.ensure_future(provider.create(80, pool.wish()))
        await until(lambda: pool.cloud.calls)
        creating.cancel()

    async def after(provider: CloudProvider, exits: Exits) -> None:
        assert [(it.epoch, it.status, it.name) for it in await provider.adopt()] == [(80, "parked", "")]
        assert (await provider.create(80, None))[0] == f"node-127.0.1.1_{FIRST_PORT}"

    pool.play(dies)
    pool.play(after)
    assert pool.cloud.names() == [pool.naming.name_of(80)]


def test_machine_made_by_a_call_that_failed_is_found(pool: Pool) -> None:
    """The answer was lost: the next try finds the machine instead of making a second one."""
    pool.cloud.fails_after_making = ConnectionResetError("reset by peer")

    async def act(provider: CloudProvider, exits: Exits) -> None:
        assert (await provider.create(80, pool.wish()))[0] == f"node-127.0.1.1_{FIRST_PORT}"

    pool.play(act)
    assert pool.cloud.made == 1


def test_half_made_machine_of_a_refused_call_is_removed(pool: Pool) -> None:
    """The cloud says no and has made something all the same: it goes, and nobody was told of an end."""
    pool.cloud.fails_after_making = RuntimeError("no more quota")

    async def act(provider: CloudProvider, exits: Exits) -> None:
        with pytest.raises(CreateError, match="no more quota"):
            await provider.create(80, pool.wish())
        await until(lambda: not pool.cloud.names())
        assert exits == []

    pool.play(act)


def test_leftovers_of_an_earlier_life_are_removed(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """What carries our owner and no order of the book goes at the adoption; what is not ours is never touched."""
    caplog.set_level(logging.WARNING)
    left = pool.make(70)
    stranger = pool.make(70, owner="0123456789ab")
    renamed = pool.make(71)
    pool.cloud.nodes[-1].name = "renamed-by-hand"

    async def act(provider: CloudProvider, exits: Exits) -> None:
        assert await provider.adopt() == []
        await until(lambda: pool.cloud.names() == [stranger])
        assert exits == []

    pool.play(act)
    assert f"leftover machine {left}" in caplog.text
    assert renamed not in caplog.text


def test_second_machine_of_an_order_is_removed(pool: Pool) -> None:
    """Of two with the same name the one that the node is named after stays, whichever came first."""

    async def act(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())
        pool.make(80)
        pool.cloud.nodes[-1].id = "a-lower-id"
        await look_until(provider, lambda: len(pool.cloud.names()) == 1)
        assert pool.cloud.nodes[0].extra["address"] == "127.0.1.1"
        assert exits == []

    with pytest.MonkeyPatch.context() as patch:
        # Two machines of one name need two folders.
        patch.setattr(pool.cloud, "boot", _boot_once(pool.cloud))
        pool.play(act)


def _boot_once(cloud: LocalCloud) -> Callable[[Any, str], None]:
    real = cloud.boot

    def boot(node: Any, user_data: str) -> None:
        if not (cloud.folder / node.name).exists():
            real(node, user_data)

    return boot


def test_machine_that_vanishes_has_ended(pool: Pool) -> None:
    """Somebody deletes it, or the cloud does: two looks without it, and the end is told with a reason."""

    async def act(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())
        pool.cloud.vanish(pool.naming.name_of(80))
        await look_until(provider, lambda: exits)
        assert exits == [(80, None, "its machine is gone, and not by us")]
        with pytest.raises(CreateError):
            await provider.create(80, pool.wish())

    pool.play(act)


def test_machine_that_failed_has_ended(pool: Pool) -> None:
    """What the cloud calls failed, and never answered, is told and removed."""
    pool.config = local_pool(Path(pool.config.data_dir), address_command=["false"])

    async def act(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())
        pool.cloud.nodes[0].state = NodeState.ERROR
        await look_until(provider, lambda: exits)
        assert exits == [(80, None, "the cloud calls its machine failed")]
        await look_until(provider, lambda: not pool.cloud.names())

    pool.play(act)


def test_machine_that_is_called_failed_and_answers_lives(pool: Pool) -> None:
    """A change of the machine failed, not the machine; the same after a restart of the provisioner."""

    async def act(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())
        await until(lambda: pool.answers)
        pool.cloud.nodes[0].state = NodeState.ERROR
        await looks(provider, exits)

    async def after(provider: CloudProvider, exits: Exits) -> None:
        assert [it.status for it in await provider.adopt()] == ["alive"]
        await until(lambda: len(pool.answers) == 2)
        await looks(provider, exits)

    async def looks(provider: CloudProvider, exits: Exits) -> None:
        pool.cloud.calls.clear()
        await look_until(provider, lambda: pool.cloud.calls.count("list") > 2)
        assert exits == []

    pool.play(act)
    pool.play(after)
    assert pool.cloud.is_running(pool.naming.name_of(80))


def test_parked_machine_that_is_gone_is_not_made_again(pool: Pool) -> None:
    """It would have another address: its node has ended, and the next order makes a new one."""

    async def before(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())
        await provider.stop(80)

    async def after(provider: CloudProvider, exits: Exits) -> None:
        await provider.adopt()
        with pytest.raises(CreateError, match="it is gone"):
            await provider.create(80, None)

    pool.play(before)
    pool.cloud.vanish(pool.naming.name_of(80))
    pool.play(after)
    assert pool.cloud.made == 1


def test_machine_that_died_unseen_is_found_dead(pool: Pool) -> None:
    """A restarted provisioner does not take for alive what the cloud does not list."""

    async def before(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())

    async def after(provider: CloudProvider, exits: Exits) -> None:
        assert [(it.epoch, it.status) for it in await provider.adopt()] == [(80, "dead")]

    pool.play(before)
    pool.cloud.vanish(pool.naming.name_of(80))
    pool.play(after)


def test_parked_machine_is_off_and_comes_back(pool: Pool) -> None:
    """It stops its agent, is there at the next start under its address, and its agent answers again."""
    name = pool.naming.name_of(80)

    async def before(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())
        await until(lambda: pool.answers)
        await provider.stop(80)
        assert exits == [(80, 0, "its machine was told to shut down")]
        await until(lambda: not pool.cloud.is_running(name))

    async def after(provider: CloudProvider, exits: Exits) -> None:
        await provider.adopt()
        await provider.create(80, None)
        await until(lambda: pool.answers == [80, 80])

    pool.play(before)
    pool.play(after)
    assert pool.cloud.made == 1


def test_parked_machine_with_another_address_is_another_node(pool: Pool) -> None:
    """A public address may be given to somebody else meanwhile: that is no node of ours, and goes."""

    async def before(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())
        await provider.stop(80)
        await until(lambda: not pool.cloud.is_running(pool.naming.name_of(80)))

    async def after(provider: CloudProvider, exits: Exits) -> None:
        await provider.adopt()
        with pytest.raises(CreateError, match="its address is not its own"):
            await provider.create(80, None)
        await until(lambda: not pool.cloud.names())

    pool.play(before)
    pool.cloud.nodes[0].extra["address"] = "127.0.1.99"
    pool.play(after)


def test_machine_without_an_address_is_given_up(pool: Pool) -> None:
    """It is waited for within a bound, then removed."""
    pool.cloud.has_addresses = False

    async def act(provider: CloudProvider, exits: Exits) -> None:
        with pytest.raises(CreateError, match=r"no address after 0\.1 s"):
            await provider.create(80, pool.wish())
        await until(lambda: not pool.cloud.names())

    pool.play(act, PACE._replace(address_within_s=0.1))


def test_hanging_cloud_is_bounded(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for ever: creating fails, parking goes on, destroying tells an end, adopting trusts the book."""

    def hang() -> None:
        for name in ("LIST_WITHIN_S", "MAKE_WITHIN_S", "PARK_WITHIN_S", "ADOPT_WITHIN_S", "DESTROY_WITHIN_S"):
            monkeypatch.setattr(cloud_provider, name, 0.1)
        pool.cloud.answers.clear()

    def work_again() -> None:
        monkeypatch.undo()
        pool.cloud.answers.set()

    async def act(provider: CloudProvider, exits: Exits) -> None:
        for order in (80, 81):
            await provider.create(order, pool.wish(order))
        hang()
        with pytest.raises(CreateError, match=r"did not answer within 0\.1 s"):
            await provider.create(82, pool.wish(82))
        await provider.stop(80)
        assert exits[0][:2] == (80, 0)
        assert "may run on" in exits[0][2]
        await provider.destroy(81)
        await until(lambda: len(exits) == 2)
        assert exits[1][:2] == (81, -9)
        assert "not seen to end" in exits[1][2]

    async def later(provider: CloudProvider, exits: Exits) -> None:
        hang()
        assert {it.epoch: it.status for it in await provider.adopt()} == {
            80: "parked",
            81: "dead",
            82: "dead",
        }
        pool.cloud.answers.set()
        await look_until(provider, lambda: pool.cloud.names() == [pool.naming.name_of(80)])

    pool.play(act, PACE._replace(end_within_s=0.3))
    pool.play(later)


def test_busy_cloud_is_asked_again(pool: Pool) -> None:
    """Throttling costs time and nothing else."""
    pool.cloud.busy = 3

    async def act(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())

    pool.play(act)
    assert pool.cloud.made == 1
    assert pool.cloud.calls.count("list") >= 4


def test_cloud_that_stays_busy_is_asked_so_many_times(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """The tries have a bound, and the log has one line about it."""
    caplog.set_level(logging.WARNING)
    pool.cloud.busy = 1000

    async def act(provider: CloudProvider, exits: Exits) -> None:
        with pytest.raises(CreateError, match="Rate limit exceeded"):
            await provider.create(80, pool.wish())
        assert pool.cloud.calls == ["list"] * cloud_calls.TRIES_MAX

    pool.play(act)
    assert caplog.text.count("the cloud does not answer") == 1


def test_machine_that_cannot_be_destroyed_is_tried_again(pool: Pool) -> None:
    """The end is told after a bound, and the looks go on until the machine is gone."""
    pool.cloud.can_destroy = False

    async def act(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())
        await provider.destroy(80)
        await until(lambda: exits)
        assert exits == [(80, -9, "not seen to end within 0.1 s; the looks go on destroying it")]
        await provider.forget(80)
        pool.cloud.can_destroy = True
        await look_until(provider, lambda: not pool.cloud.names())
        assert len(exits) == 1

    pool.play(act, PACE._replace(end_within_s=0.1))


def test_machine_whose_destruction_came_to_nothing_is_destroyed_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cloud said yes and did nothing: it is believed for a while only."""
    monkeypatch.setattr(cloud_provider, "DESTROY_WITHIN_S", 0.2)
    pool.cloud.only_says_so = True

    async def act(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())
        await provider.destroy(80)
        await until(lambda: exits)
        assert pool.cloud.calls.count("destroy") == 1
        pool.cloud.only_says_so = False
        await look_until(provider, lambda: not pool.cloud.names())
        assert len(exits) == 1

    pool.play(act, PACE._replace(end_within_s=0.1))


def test_node_destroyed_while_it_is_made_does_not_stay(pool: Pool) -> None:
    """Whoever waits for it hears that it is not wanted, and the machine goes."""
    pool.cloud.has_addresses = False

    async def act(provider: CloudProvider, exits: Exits) -> None:
        creating = asyncio.ensure_future(provider.create(80, pool.wish()))
        await until(pool.cloud.names)
        await provider.destroy(80)
        pool.cloud.has_addresses = True
        with pytest.raises(CreateError):
            await creating
        await until(lambda: not pool.cloud.names())
        assert exits == []

    pool.play(act)


def test_two_pools_in_one_account_do_not_touch_each_other(pool: Pool, tmp_path: Path) -> None:
    """The owner is part of the name and the tags."""
    other = Pool(tmp_path / "other")
    other.cloud = pool.cloud

    async def make(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())

    async def look(provider: CloudProvider, exits: Exits) -> None:
        await provider.adopt()
        await provider.create(80, NodeOrder(80, 4, FIRST_PORT + 1))
        pool.cloud.calls.clear()
        await look_until(provider, lambda: pool.cloud.calls.count("list") > 2)

    pool.play(make)
    other.play(look)
    assert sorted(pool.cloud.names()) == sorted([pool.naming.name_of(80), other.naming.name_of(80)])


def test_user_data_that_is_too_long_is_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine is asked for that could not be told what to do."""
    pool.config = local_pool(Path(pool.config.data_dir), install=["true"] * 4_000)

    async def act(provider: CloudProvider, exits: Exits) -> None:
        with pytest.raises(CreateError, match="shorten `install`"):
            await provider.create(80, pool.wish())

    pool.play(act)
    assert "create" not in pool.cloud.calls


def test_install_commands_run_before_the_agent(pool: Pool) -> None:
    """What the pool says is done in the machine, and a failure keeps the agent from starting."""
    pool.config = local_pool(Path(pool.config.data_dir), install=['printf installed > "$MACHINE/proof"'])

    async def act(provider: CloudProvider, exits: Exits) -> None:
        await provider.create(80, pool.wish())
        await until(lambda: pool.answers)

    pool.play(act)
    assert (pool.cloud.folder / pool.naming.name_of(80) / "proof").read_text() == "installed"


def test_dummy_driver_as_it_comes_is_told_apart_from_ours(pool: Pool) -> None:
    """The dummy of libcloud has machines of its own, without our names: they are neither listed nor destroyed."""
    from libcloud.compute.drivers.dummy import DummyNodeDriver

    machines = pool.cloud.connector(pool.config)()
    dummy = machines._driver = DummyNodeDriver("3")
    ours = dummy.create_node("ignored", None, None)
    ours.name, ours.extra = pool.naming.name_of(80), {"metadata": pool.naming.tags_of(80)}
    assert [it.order for it in machines.list_machines()] == [80]
    machines.destroy(str(ours.id))
    machines.destroy("0")
    assert [node.name for node in dummy.list_nodes()] == ["dummy-0", "dummy-1", "dummy-2"]
    with pytest.raises(CloudError, match="create: TypeError"):
        machines.make(_plan(pool))


def _plan(pool: Pool) -> Any:
    from agents.machines import MachinePlan

    return MachinePlan(pool.naming.name_of(81), pool.naming.tags_of(81), yaml.safe_dump({}))
