"""Nodes as machines of a cloud on this machine: what the contract of every provider does not ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from libcloud.compute.types import NodeState

from agents.cloud_provider import CloudProvider
from agents.provider import CreateError
from tests.agents.waiting import until
from tests.cloud.local import PACE, LocalCloud, local_pool
from tests.cloud.pool import FIRST_PORT, Exits, Pool, look_until


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
