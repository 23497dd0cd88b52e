"""Nodes on two hosts, each this machine by way of a real OpenSSH server: what dies there, and what only seems to."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdk.contract.ids import split_node_id
from sdk.contract.requests import ShutdownNode
from streams.local.broker import LocalBroker
from tests.agents.ssh_rig import SshRig
from tests.agents.sshd import NoServerError, SshServer
from tests.integration.checks import apps_on, check_end, false_facts

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

AGENT_KILLS = 10
APPS = [f"application-{number}" for number in range(4)]


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SshServer]]:
    """Two servers, for two addresses of this machine."""
    addresses = ["127.0.0.1", "127.0.0.2"]
    try:
        servers = [SshServer(tmp_path_factory.mktemp("sshd"), address).start() for address in addresses]
    except NoServerError as error:
        pytest.skip(f"no ssh server: {error}")
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def rig(kafka: LocalBroker, servers: list[SshServer], tmp_path: Path) -> Iterator[SshRig]:
    """A platform with a node on each host and four apps; agents that die are started again in their place."""
    with SshRig(tmp_path / "rig", servers, bootstrap=kafka.bootstrap, restart_agents=True) as rig:
        rig.start(workers=1, nodes=2, slots=4)
        rig.run_apps(APPS)
        yield rig


def facts(rig: SshRig) -> dict[str, tuple[str, int, int, int]]:
    """What must not change: node, generation, failures and process of each app."""
    state = rig.state()
    return {
        app: (state.apps[app].node, state.apps[app].generation, state.apps[app].failures, rig.app_pid(app))
        for app in APPS
    }


def test_apps_outlive_ten_deaths_of_their_agent(rig: SshRig) -> None:
    """A node's agent is killed ten times: its apps keep their processes, generations and failure counts."""
    assert {split_node_id(node)[0] for node in rig.state().nodes} == {"127.0.0.1", "127.0.0.2"}
    before, nodes = facts(rig), rig.state().nodes.keys()
    victims = sorted({rig.node_of(app) for app in APPS})

    for number in range(AGENT_KILLS):
        rig.kill_agent(victims[number % len(victims)])

    rig.wait_running(APPS)
    assert facts(rig) == before
    assert rig.state().nodes.keys() == nodes
    assert rig.verify() == []


def test_node_lives_on_without_its_connection(rig: SshRig) -> None:
    """The connections are cut three times and the provisioner is killed once: nobody is accused, nothing restarts."""
    before, since = facts(rig), rig.log.offset + 1
    assert rig.provisioner is not None

    for _ in range(3):
        for server in rig.servers:
            rig.wait(lambda _, server=server: server.sessions())  # type: ignore[misc]
            # One as a rule; a connection that is just being made is another.
            lost = set(server.cut())
            rig.wait(lambda _, server=server, lost=lost: set(server.sessions()) - lost)  # type: ignore[misc]
    before_death = [set(server.sessions()) for server in rig.servers]
    rig.kill(rig.provisioner.pid)
    for server, old in zip(rig.servers, before_death, strict=True):
        rig.wait(
            lambda _, server=server, old=old: set(server.sessions()) - old,  # type: ignore[misc]
            what="the next provisioner",
        )

    rig.wait_time(3)
    rig.wait_running(APPS)
    assert facts(rig) == before
    check_end(rig, since)


def test_node_that_is_shut_down_leaves_nothing(rig: SshRig) -> None:
    """A node that is asked to go ends on its host with its apps, which come up on the other one."""
    victim = rig.node_of(APPS[0])
    server = next(it for it in rig.servers if it.address == split_node_id(victim)[0])
    assert len(rig.lives_on(server)) > 1

    rig.ask(ShutdownNode(victim))

    rig.wait(lambda _: not apps_on(rig, victim), what="its apps elsewhere")
    rig.wait_running(APPS, within_s=60)
    # What is left is the caretaker.
    rig.wait(lambda _: len(rig.lives_on(server)) == 1, what="nothing of the node left")
    assert rig.verify() == []


def test_host_that_dies_is_replaced_by_the_other(rig: SshRig) -> None:
    """A host is gone with all that ran there: its silence is found, and its apps run on the other host."""
    victim = rig.node_of(APPS[0])
    lost = apps_on(rig, victim)
    server = next(it for it in rig.servers if it.address == split_node_id(victim)[0])
    since = rig.log.offset + 1

    server.stop()
    for pid in rig.lives_on(server):
        os.kill(pid, signal.SIGKILL)

    rig.wait(lambda state: state.nodes[victim].status == "down", what="the node down", within_s=60)
    rig.wait_running(APPS, within_s=60)
    assert {split_node_id(rig.node_of(app))[0] for app in lost}.isdisjoint({server.address})
    assert false_facts(rig, since, touched=[victim, *lost]) == []
    assert rig.verify() == []
