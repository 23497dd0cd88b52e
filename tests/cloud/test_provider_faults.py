"""A cloud that hangs, is busy or refuses, and what one pool must not do to another."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents import cloud_calls, cloud_provider
from agents.cloud_provider import CloudProvider
from agents.machines import CloudError
from agents.provider import CreateError
from sdk.contract.orders import NodeOrder
from tests.agents.waiting import until
from tests.cloud.local import PACE, local_pool
from tests.cloud.pool import FIRST_PORT, Exits, Pool, look_until


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
