"""A whole platform whose apps are containers, in the network of a real docker daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents.containers import Container
from agents.docker_image import IMAGE
from agents.docker_sdk import DockerContainers
from sdk.contract.specs import AppSpec, DockerSpec
from streams.commands.scaling import fetch_log
from streams.local.ports import find_free_ports
from streams.local.rig import Rig, is_running
from tests.docker.daemon import Daemon

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

BEATING = ["python3", "-c", "from sdk.heartbeat import heart_beat; heart_beat()"]
IN_HOST, IN_BRIDGE, PROCESS = "application-host", "application-bridge", "application-process"
AGENT_KILLS = 10
#: Beats once it has read this platform's topics, told by nobody where they are.
READING = ["python3", "-c", f"from sdk.deployer import Deployer; Deployer().list_nodes(); {BEATING[2]}"]


class Platform:
    """A rig and what its daemon knows of it."""

    def __init__(self, rig: Rig, containers: DockerContainers) -> None:
        self.rig = rig
        self.containers = containers

    def seen(self) -> list[Container]:
        """The containers of the rig's apps."""
        return self.containers.list_labelled({"watchkeep.prefix": self.rig.prefix})

    def living(self, app: str) -> list[Container]:
        """Those of one app that run."""
        return [it for it in self.seen() if it.labels["watchkeep.app"] == app and it.is_alive]


def bridge_address(containers: DockerContainers) -> str:
    """Where Kafka can listen for apps in the bridge."""
    gateway = containers.gateway("bridge")
    return f"{gateway}:{find_free_ports(1, gateway)[0]}"


@pytest.fixture
def platform(docker_daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose nodes have the driver docker and whose agents are started again in their place."""
    containers = DockerContainers(docker_daemon.host)
    with (
        docker_daemon.network(),
        Rig(
            tmp_path_factory.mktemp("rig"),
            docker=True,
            docker_host=docker_daemon.host,
            docker_bootstrap=bridge_address(containers),
            restart_agents=True,
        ) as rig,
    ):
        rig.start(workers=1, nodes=2, slots=4)
        platform = Platform(rig, containers)
        yield platform
        rig.close()
        for left in platform.seen():
            containers.remove(left.id)
    containers.close()


def spec(app: str, network: str) -> AppSpec:
    """An app in a container, which beats if the SDK reaches Kafka from there."""
    docker = DockerSpec(IMAGE, network=network)  # type: ignore[arg-type]  # one of the two
    return AppSpec(app, READING, driver="docker", docker=docker)


def wait_for_agent(rig: Rig, node: str, registration: int, pid: int) -> None:
    """Wait until a node's agent is another process with another registration."""
    rig.wait(
        lambda state: state.nodes[node].registration > registration,
        what=f"{node} registered again",
        within_s=30,
    )
    rig.wait(lambda _: rig._agent_pid(node) not in (0, pid), what=f"the next pid of {node}")


def test_container_that_dies_comes_back(platform: Platform) -> None:
    """An app in a container beats; killed, it comes back on another node, and nothing of the first is left."""
    rig = platform.rig
    rig.run_apps([spec(IN_HOST, "host"), spec(IN_BRIDGE, "bridge")], within_s=60)
    before = rig.state().apps[IN_HOST]
    (first,) = platform.living(IN_HOST)
    assert set(rig.state().nodes[before.node].drivers) == {"process", "docker"}

    platform.containers.signal(first.id, "SIGKILL")

    rig.wait(
        lambda state: is_running(state, IN_HOST) and state.apps[IN_HOST].generation > before.generation,
        what="the killed container's app running again",
        within_s=60,
    )
    after = rig.state().apps[IN_HOST]
    assert after.node != before.node
    assert after.failures == 1
    (second,) = platform.living(IN_HOST)
    rig.wait(lambda _: first.id not in {it.id for it in platform.seen()}, what="the first container removed")
    assert second.labels["watchkeep.generation"] == str(after.generation)
    rig.stop_apps([IN_HOST, IN_BRIDGE])
    rig.wait(lambda _: not platform.seen(), what="no container left")
    assert rig.verify() == []


def test_apps_outlive_ten_deaths_of_their_agent(platform: Platform) -> None:
    """A node's agent is killed ten times: container ids, pids, generations and failure counts stay as they were."""
    rig = platform.rig
    rig.run_apps([spec(IN_HOST, "host"), spec(IN_BRIDGE, "bridge"), PROCESS], within_s=60)
    apps = [IN_HOST, IN_BRIDGE, PROCESS]
    victims = sorted({rig.node_of(app) for app in apps})
    before = rig.state()
    pids = {app: rig.app_pid(app) for app in apps}
    ids = {app: [it.id for it in platform.living(app)] for app in apps}

    for number in range(AGENT_KILLS):
        node = victims[number % len(victims)]
        registration, pid = rig.state().nodes[node].registration, rig.agent_pid(node)
        rig.kill(pid)
        wait_for_agent(rig, node, registration, pid)

    rig.wait_running(apps)
    after = rig.state()
    assert {app: rig.app_pid(app) for app in apps} == pids
    assert {app: [it.id for it in platform.living(app)] for app in apps} == ids
    for app in apps:
        assert (after.apps[app].generation, after.apps[app].failures) == (before.apps[app].generation, 0)
        assert after.apps[app].node == before.apps[app].node
    assert after.nodes.keys() == before.nodes.keys()
    assert rig.verify() == []


def test_reason_of_a_failed_start_is_shown(platform: Platform) -> None:
    """An app whose image is not there says so in the log and in its row."""
    rig = platform.rig
    rig.change_policy(app_give_up_after=1)
    rig.run_apps(
        [AppSpec(IN_HOST, BEATING, driver="docker", docker=DockerSpec("no-such/image:1"))], wait=False
    )

    rig.wait(lambda state: IN_HOST in state.apps and state.apps[IN_HOST].gave_up, what="the app given up")

    assert "there is no image no-such/image:1 on this machine" in rig.state().apps[IN_HOST].end_detail


def test_node_in_a_container_is_replaced_with_its_apps(
    docker_daemon: Daemon, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With nodes as containers, one that is killed is replaced by a new one with all its apps, containers too."""
    containers = DockerContainers(docker_daemon.host)
    with (
        docker_daemon.network(),
        Rig(
            tmp_path_factory.mktemp("rig"),
            provider="docker",
            docker=True,
            docker_host=docker_daemon.host,
            docker_bootstrap=bridge_address(containers),
        ) as rig,
    ):
        rig.start(workers=1, nodes=2, slots=4)
        _check_secret(rig)
        processes = ["application-0", "application-1"]
        apps = rig.run_apps([*processes, spec(IN_HOST, "host"), spec(IN_BRIDGE, "bridge")], within_s=60)
        victim = rig.node_of(IN_BRIDGE)
        lost = [app for app in apps if rig.node_of(app) == victim]
        (container,) = containers.list_labelled({"watchkeep.node": victim, "watchkeep.kind": "node"})

        containers.signal(container.id, "SIGKILL")

        rig.wait(lambda state: state.nodes[victim].status == "down", what="the killed node down")
        rig.wait_running(apps, within_s=60)
        assert {rig.node_of(app) for app in lost}.isdisjoint({victim})
        assert containers.list_labelled({"watchkeep.node": victim}) == []
        assert rig.verify() == []
        rig.close()
        for left in containers.list_labelled({"watchkeep.prefix": rig.prefix}):
            containers.remove(left.id)
    containers.close()


def _check_secret(rig: Rig) -> None:
    """An app on a node that is a container finds its secret, though it came after the node."""
    secret = rig.folder / "secrets" / "door-1"
    secret.write_text("open-sesame")
    secret.chmod(0o600)
    show = f"import os; print(len(os.environ['DOOR']), flush=True); {BEATING[2]}"
    app = "application-door"
    rig.run_apps([AppSpec(app, ["python3", "-c", show], secrets={"DOOR": "door-1"})], within_s=60)
    node = rig.state().nodes[rig.node_of(app)]
    rig.wait(
        lambda _: fetch_log(node.ip, node.port, app, 5) == b"11\n", what="the secret's length in its log"
    )
    rig.stop_apps([app])
