"""What is particular to nodes on other machines: hosts that are away, hang, lie in pieces or are full."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import procfs, ssh_host, ssh_provider
from agents.provider import CreateError
from agents.ssh_book import Book, Entry
from agents.ssh_hosts import HostConfig
from agents.ssh_provider import SshProvider
from agents.ssh_wire import Wire
from sdk.contract.ids import split_node_id
from tests.agents.fake_wire import FakeNetwork, fake_host
from tests.agents.ssh_play import Stage, Told, alive
from tests.agents.waiting import until

HOST = "127.0.0.1:22"
OTHER = "127.0.0.2:22"


@pytest.fixture
def network() -> FakeNetwork:
    """Hosts over pipes."""
    return FakeNetwork()


@pytest.fixture
def stage(tmp_path: Path, network: FakeNetwork) -> Iterator[Stage]:
    """A stage with one host."""
    stage = Stage(tmp_path, [fake_host(str(tmp_path / "home"))], network.connect)
    yield stage
    stage.close()


@pytest.fixture
def pair(tmp_path: Path, network: FakeNetwork) -> Iterator[Stage]:
    """A stage with two hosts, of which the first has room for one node and the second for two."""
    hosts = [
        fake_host(str(tmp_path / "one"), nodes_max=1),
        fake_host(str(tmp_path / "two"), host="127.0.0.2", nodes_max=2),
    ]
    stage = Stage(tmp_path, hosts, network.connect)
    yield stage
    stage.close()


# --- which host -----------------------------------------------------------------------------------------


def test_host_with_the_fewest_nodes_is_taken_and_none_is_overfilled(pair: Stage) -> None:
    """Nodes go to the emptier host; when all have their most, the refusal says how many each has."""

    async def act(provider: SshProvider, told: Told) -> None:
        nodes = [(await provider.create(order, pair.wish(order)))[0] for order in (80, 81, 82)]
        assert [split_node_id(it)[0] for it in nodes] == ["127.0.0.1", "127.0.0.2", "127.0.0.2"]
        with pytest.raises(CreateError, match=r"most nodes \(127.0.0.1:22 1, 127.0.0.2:22 2\)"):
            await provider.create(83, pair.wish(83))
        for order in (80, 81, 82):
            await provider.destroy(order)
        await until(lambda: len(told.exits) == 3)
        assert (await provider.create(84, pair.wish(84)))[0].startswith("node-127.0.0.1_")

    pair.play(act)


def test_host_that_refuses_is_passed_over(pair: Stage, network: FakeNetwork) -> None:
    """A node goes to the host that answers; if none does, each one's reason is told."""

    async def act(provider: SshProvider, told: Told) -> None:
        network.refusing[HOST] = "it does not let in user nobody"
        assert (await provider.create(80, pair.wish()))[0].startswith("node-127.0.0.2_")
        network.refusing[OTHER] = "no connection"
        await network.cut(OTHER)
        await until(lambda: not provider._hosts[OTHER].is_up)
        with pytest.raises(
            CreateError, match=r"127.0.0.1:22: it does not let in user nobody; 127.0.0.2:22: no conn"
        ):
            await provider.create(81, pair.wish(81))

    pair.play(act)


def test_host_that_is_back_is_used_at_once(
    stage: Stage, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who needs a host that was away does not wait for its next turn."""
    monkeypatch.setattr(ssh_host, "PAUSE_S", 3_600.0)

    async def act(provider: SshProvider, told: Told) -> None:
        network.refusing[HOST] = "no connection"
        assert await provider.adopt() == []
        del network.refusing[HOST]
        assert (await provider.create(80, stage.wish()))[0]

    stage.play(act)


# --- hosts that will not do -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("python", "says"),
    [
        ("/usr/bin/no-such-python", "no-such-python"),
        ("/usr/bin/false", "the connection ended before a word was said"),
    ],
)
def test_host_without_its_python_says_so(
    tmp_path: Path, network: FakeNetwork, python: str, says: str
) -> None:
    """A wrong path of Python is one sentence with the host's own words."""
    stage = Stage(tmp_path, [fake_host(str(tmp_path / "home"), python=python)], network.connect)

    async def act(provider: SshProvider, told: Told) -> None:
        with pytest.raises(CreateError, match=says):
            await provider.create(80, stage.wish())

    stage.play(act)


def test_python_without_the_packages_says_which(tmp_path: Path, network: FakeNetwork) -> None:
    """A Python that lacks what an agent imports is refused, and the missing packages are named."""
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {os.path.realpath("/proc/self/exe")} -S "$@"\n')
    bare.chmod(0o755)
    stage = Stage(tmp_path, [fake_host(str(tmp_path / "home"), python=str(bare))], network.connect)

    async def act(provider: SshProvider, told: Told) -> None:
        with pytest.raises(CreateError, match=r"has no .*msgspec.*: install the packages of constraints.txt"):
            await provider.create(80, stage.wish())

    stage.play(act)


def test_home_that_cannot_be_written_says_so(tmp_path: Path, network: FakeNetwork) -> None:
    """A home under a file is refused with the path."""
    (tmp_path / "file").write_text("")
    stage = Stage(tmp_path, [fake_host(str(tmp_path / "file" / "home"))], network.connect)

    async def act(provider: SshProvider, told: Told) -> None:
        with pytest.raises(CreateError, match="file/home cannot be used"):
            await provider.create(80, stage.wish())

    stage.play(act)


def test_tilde_is_the_home_of_the_user_there(tmp_path: Path, network: FakeNetwork) -> None:
    """Python and home may be given below the user's own folder."""
    network.home = str(tmp_path)
    (tmp_path / "a bin").mkdir()
    python = tmp_path / "a bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    stage = Stage(tmp_path, [fake_host("~/kept", python="~/a bin/python")], network.connect)

    async def act(provider: SshProvider, told: Told) -> None:
        node, _ = await provider.create(80, stage.wish())
        assert list((tmp_path / "kept").glob(f"*/nodes/{node}"))

    stage.play(act)
    stage.close()


def test_what_login_scripts_print_is_passed_over(stage: Stage, network: FakeNetwork) -> None:
    """A host whose shell greets before each command serves like any other."""

    async def connect(host: HostConfig, command: str) -> Wire:
        return await network.connect(host, f"echo Welcome to the machine; echo; {command}")

    stage.connect = connect

    async def act(provider: SshProvider, told: Told) -> None:
        await provider.create(80, stage.wish())
        await until(lambda: told.answers)

    stage.play(act)


def test_code_is_sent_once(stage: Stage) -> None:
    """The second connection finds the code of the first in its place, and it is the code of here."""

    async def act(provider: SshProvider, told: Told) -> None:
        await provider.adopt()

    stage.play(act)
    (code,) = (stage.folder / "home" / "code").iterdir()
    before = code.stat().st_ctime_ns
    stage.play(act)
    assert [it.stat().st_ctime_ns for it in code.parent.iterdir()] == [before]
    assert (code / "agents" / "node.py").read_bytes() == Path(ssh_host.__file__).with_name(
        "node.py"
    ).read_bytes()


# --- hosts that hang ------------------------------------------------------------------------------------


def test_hanging_host_costs_a_bounded_time(
    stage: Stage, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that takes connections and says nothing is given up, and the sentence says after how long."""
    monkeypatch.setattr(ssh_host, "BEGIN_WITHIN_S", 0.3)
    network.hanging.add(HOST)

    async def act(provider: SshProvider, told: Told) -> None:
        async with asyncio.timeout(5):
            assert await provider.adopt() == []
            with pytest.raises(CreateError, match=r"127.0.0.1:22: it said nothing for 0.3 s"):
                await provider.create(80, stage.wish())

    stage.play(act)


def test_silent_host_does_not_hold_up_the_start(
    stage: Stage, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provisioner goes on without a host that takes longer than it waits."""
    monkeypatch.setattr(ssh_provider, "ADOPT_WITHIN_S", 0.1)
    monkeypatch.setattr(ssh_provider, "REACH_WITHIN_S", 0.2)
    network.hanging.add(HOST)

    async def act(provider: SshProvider, told: Told) -> None:
        async with asyncio.timeout(5):
            assert await provider.adopt() == []
            with pytest.raises(CreateError, match=r"it does not answer within 0.[12] s"):
                await provider.create(80, stage.wish())

    stage.play(act)


def test_node_whose_creation_was_not_answered_is_ended(
    stage: Stage, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host makes the node, its word is lost, the order fails; when the host is back the node is destroyed."""
    monkeypatch.setattr(ssh_provider, "CREATE_WITHIN_S", 1.0)
    nodes: list[str] = []

    async def act(provider: SshProvider, told: Told) -> None:
        await provider.adopt()
        network.mute.add(HOST)
        with pytest.raises(CreateError, match="it said nothing for 1 s"):
            await provider.create(80, stage.wish())
        await until(lambda: list(stage.folder.glob("home/*/nodes/*/lock")))
        nodes.extend(it.parent.name for it in stage.folder.glob("home/*/nodes/*/lock"))
        assert alive(nodes[0])
        network.mute.clear()
        await until(lambda: not alive(nodes[0]))
        await until(lambda: stage.book()[80].state == "ended")
        assert told.exits == []
        with pytest.raises(CreateError, match="has ended before"):
            await provider.create(80, stage.wish())

    stage.play(act)


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
