"""Nodes on other machines when something is lost: the connection, the agent, the provisioner or what it knew."""

from __future__ import annotations

import asyncio
import os
import signal

from agents import procfs
from agents.ssh_book import Book, Entry
from agents.ssh_provider import SshProvider
from tests.agents.fake_wire import FakeNetwork
from tests.agents.ssh_play import Stage, Told, alive
from tests.agents.waiting import until

HOST = "127.0.0.1:22"


# --- connections that are lost --------------------------------------------------------------------------


def test_loss_of_the_connection_is_no_end(stage: Stage, network: FakeNetwork) -> None:
    """After a cut the node is found again with the process that it had, and ends only when it is to."""

    async def act(provider: SshProvider, told: Told) -> None:
        node, pid = await provider.create(80, stage.wish())
        await until(lambda: told.answers)
        first = stage.caretakers()
        await network.cut(HOST)
        await until(lambda: provider._hosts[HOST].is_up and stage.caretakers() not in ([], first))
        await until(lambda: len(told.answers) == 2)
        assert await provider.create(80, stage.wish()) == (node, pid)
        assert (told.exits, told.restarts) == ([], [])
        await provider.destroy(80)
        await until(lambda: told.exits)
        assert alive(node) == []

    stage.play(act)


def test_end_while_the_connection_was_lost_is_told_later(stage: Stage, network: FakeNetwork) -> None:
    """An agent that dies unseen is reported when its host is back."""

    async def act(provider: SshProvider, told: Told) -> None:
        node, pid = await provider.create(80, stage.wish())
        await until(lambda: told.answers)
        network.refusing[HOST] = "cut"
        await network.cut(HOST)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not provider._hosts[HOST].is_up)
        assert told.exits == []
        network.refusing.clear()
        await until(lambda: told.exits)
        assert told.exits == [(80, None, "ended while its host was away")]
        assert alive(node) == []

    stage.play(act)


def test_node_destroyed_while_its_host_is_away_goes_when_it_is_back(
    stage: Stage, network: FakeNetwork
) -> None:
    """Destroying returns at once, the order is kept, over a restart of the provisioner too."""
    nodes = []

    async def before(provider: SshProvider, told: Told) -> None:
        nodes.append((await provider.create(80, stage.wish()))[0])
        await until(lambda: told.answers)
        network.refusing[HOST] = "cut"
        await network.cut(HOST)
        await until(lambda: not provider._hosts[HOST].is_up)
        async with asyncio.timeout(2):
            await provider.destroy(80)
        assert told.exits == []

    async def after(provider: SshProvider, told: Told) -> None:
        assert [it.status for it in await provider.adopt()] == ["alive"]
        assert alive(nodes[0])
        network.refusing.clear()
        await until(lambda: told.exits)
        assert told.exits[0][0] == 80
        assert alive(nodes[0]) == []

    stage.play(before)
    stage.play(after)


def test_node_on_a_host_that_is_away_lives_on_when_the_platform_stops(
    stage: Stage, network: FakeNetwork
) -> None:
    """The provisioner can end, and the next one finds the node alive under its name."""
    made = []

    async def before(provider: SshProvider, told: Told) -> None:
        made.append(await provider.create(80, stage.wish()))
        await until(lambda: told.answers)
        network.refusing[HOST] = "cut"
        await network.cut(HOST)
        await until(lambda: not provider._hosts[HOST].is_up)
        await provider.stop(80)
        assert told.exits == [(80, None, "its host is away; it lives on")]

    async def after(provider: SshProvider, told: Told) -> None:
        assert [(it.name, it.pid, it.status) for it in await provider.adopt()] == [(*made[0], "alive")]

    stage.play(before)
    network.refusing.clear()
    stage.play(after)


def test_caretaker_that_has_not_noticed_is_ended_by_the_next(stage: Stage) -> None:
    """A caretaker that hangs on a dead connection does not keep the next one out."""

    async def act(provider: SshProvider, told: Told) -> None:
        _, pid = await provider.create(80, stage.wish())
        await until(lambda: told.answers)
        (first,) = stage.caretakers()
        os.kill(first, signal.SIGSTOP)

        async def again(second: SshProvider, _: Told) -> None:
            assert [(it.pid, it.status) for it in await second.adopt()] == [(pid, "alive")]

        await asyncio.to_thread(stage.play, again)
        assert not procfs.is_alive(first, procfs.start_of(first))

    stage.play(act)


# --- agents that die ------------------------------------------------------------------------------------


def test_agent_is_started_again_in_its_place(stage: Stage, network: FakeNetwork) -> None:
    """With `restart_agents` an agent that dies is replaced by another of the same name, seen or unseen."""

    async def act(provider: SshProvider, told: Told) -> None:
        node, pid = await provider.create(80, stage.wish())
        for number in range(1, 4):
            await until(lambda number=number: len(told.answers) == number)  # type: ignore[misc]
            os.kill(pid, signal.SIGKILL)
            await until(lambda number=number: len(told.restarts) == number)  # type: ignore[misc]
            assert told.restarts[-1][:2] == (80, node)
            assert told.restarts[-1][2] != pid
            pid = told.restarts[-1][2]
        await until(lambda: len(told.answers) == 4)
        network.refusing[HOST] = "cut"
        await network.cut(HOST)
        os.kill(pid, signal.SIGKILL)
        network.refusing.clear()
        await until(lambda: len(told.restarts) == 4)
        assert told.restarts[-1][2] in alive(node)
        assert told.exits == []
        await provider.destroy(80)
        await until(lambda: told.exits)
        assert alive(node) == []

    stage.play(act, restart_agents=True)


# --- what an earlier provisioner left -------------------------------------------------------------------


def test_node_that_the_book_does_not_name_is_ended(stage: Stage) -> None:
    """What a host has of ours and nobody knows here is destroyed at the next start."""
    nodes = []

    async def before(provider: SshProvider, told: Told) -> None:
        nodes.append((await provider.create(80, stage.wish()))[0])
        await until(lambda: told.answers)

    async def after(provider: SshProvider, told: Told) -> None:
        assert await provider.adopt() == []
        await until(lambda: not alive(nodes[0]))
        assert told.exits == []

    stage.play(before)
    stage.change_book(lambda book: book.nodes.clear())
    assert alive(nodes[0])
    stage.play(after)


def test_half_made_node_is_adopted(stage: Stage) -> None:
    """A provisioner that died before it heard of its node finds it under the order."""
    made = []

    async def before(provider: SshProvider, told: Told) -> None:
        made.append(await provider.create(80, stage.wish()))

    def forget_answer(book: Book) -> None:
        book.nodes[0].state, book.nodes[0].node, book.nodes[0].pid = "making", "", 0

    async def after(provider: SshProvider, told: Told) -> None:
        assert [(it.name, it.pid, it.status) for it in await provider.adopt()] == [(*made[0], "alive")]
        assert await provider.create(80, stage.wish()) == made[0]

    stage.play(before)
    stage.change_book(forget_answer)
    stage.play(after)


def test_order_that_never_reached_its_host_is_carried_out_there(stage: Stage, network: FakeNetwork) -> None:
    """A provisioner that died between its book and the host asks the host again."""

    async def before(provider: SshProvider, told: Told) -> None:
        network.refusing[HOST] = "no connection"
        await provider.adopt()

    async def after(provider: SshProvider, told: Told) -> None:
        assert await provider.adopt() == []
        assert (await provider.create(80, stage.wish()))[0]

    stage.play(before)
    network.refusing.clear()
    stage.change_book(lambda book: book.nodes.append(Entry(80, HOST)))
    stage.play(after)
    assert stage.book()[80].state == "made"


def test_node_of_a_host_that_left_the_file_is_dead(pair: Stage) -> None:
    """A host taken out of the file takes its nodes with it: they are told as dead, and no error stops the rest."""

    async def before(provider: SshProvider, told: Told) -> None:
        for order in (80, 81):
            await provider.create(order, pair.wish(order))

    async def after(provider: SshProvider, told: Told) -> None:
        assert {it.epoch: it.status for it in await provider.adopt()} == {80: "alive", 81: "dead"}

    pair.play(before)
    pair.hosts.pop()
    pair.play(after)
