"""What is particular to nodes on other machines: hosts that are away, hang, lack something or are full."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec
import pytest

from agents import ssh_host, ssh_provider
from agents.provider import CreateError
from agents.settings import NodeConfig
from agents.ssh_hosts import HostConfig
from agents.ssh_provider import SshProvider
from agents.ssh_wire import Wire
from sdk.contract.ids import split_node_id
from tests.agents.fake_wire import FakeNetwork, fake_host
from tests.agents.ssh_play import Stage, Told, alive
from tests.agents.waiting import until

HOST = "127.0.0.1:22"
OTHER = "127.0.0.2:22"


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


def test_orders_that_come_together_do_not_overfill(pair: Stage) -> None:
    """Four creations at once, before any host was reached: three find room and one is refused."""

    async def act(provider: SshProvider, told: Told) -> None:
        made = await asyncio.gather(
            *(provider.create(order, pair.wish(order)) for order in range(80, 84)), return_exceptions=True
        )
        assert [type(it) for it in made].count(CreateError) == 1
        nodes = [it[0] for it in made if isinstance(it, tuple)]
        assert len(nodes) == len(set(nodes)) == 3
        assert sum(node.startswith("node-127.0.0.1_") for node in nodes) == 1

    pair.play(act)


def test_slots_are_those_of_the_host_or_as_ordered(tmp_path: Path, network: FakeNetwork) -> None:
    """A host that says how many apps its nodes take is obeyed; otherwise the order is."""
    homes = [str(tmp_path / "one"), str(tmp_path / "two")]
    hosts = [fake_host(homes[0], slots=7), fake_host(homes[1], host="127.0.0.2")]
    stage = Stage(tmp_path, hosts, network.connect)

    async def act(provider: SshProvider, told: Told) -> None:
        for order in (80, 81):
            await provider.create(order, stage.wish(order))

    stage.play(act)
    slots = [
        msgspec.json.decode(path.read_bytes(), type=NodeConfig).slots
        for path in sorted(tmp_path.glob("*/*/nodes/*/agent.json"))
    ]
    stage.close()
    assert slots == [7, 4]


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
