"""The driver docker on a node of another machine: containers outlive their agent there and end with their node."""

from __future__ import annotations

import pytest

from agents.docker_image import IMAGE
from agents.docker_sdk import DockerContainers
from sdk.contract.requests import ShutdownNode
from sdk.contract.specs import AppSpec, DockerSpec
from tests.agents.ssh_rig import SshRig
from tests.agents.sshd import NoServerError, SshServer
from tests.docker.daemon import Daemon

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

APP = "application-contained"
BEATING = ["python3", "-c", "from sdk.heartbeat import heart_beat; heart_beat()"]
AGENT_KILLS = 3


def test_container_of_a_node_over_ssh_outlives_its_agent(
    docker_daemon: Daemon, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The agent is killed three times and the container stays; the node is shut down and the container goes."""
    with docker_daemon.network():
        try:
            server = SshServer(tmp_path_factory.mktemp("sshd")).start()
        except NoServerError as error:
            pytest.skip(f"no ssh server: {error}")
        containers = DockerContainers(docker_daemon.host)
        rig = SshRig(
            tmp_path_factory.mktemp("rig"),
            [server],
            docker=True,
            docker_host=docker_daemon.host,
            restart_agents=True,
        )
        labels = {"watchkeep.prefix": rig.prefix}
        try:
            rig.start(workers=1, nodes=2, slots=2)
            rig.run_apps([AppSpec(APP, BEATING, driver="docker", docker=DockerSpec(IMAGE))], within_s=60)
            node = rig.node_of(APP)
            before, (container,) = rig.state().apps[APP], containers.list_labelled(labels)

            for _ in range(AGENT_KILLS):
                rig.kill_agent(node)

            rig.wait_running([APP])
            after = rig.state().apps[APP]
            assert (after.generation, after.failures) == (before.generation, 0)
            assert [it.id for it in containers.list_labelled(labels)] == [container.id]

            rig.ask(ShutdownNode(node))
            rig.wait(lambda state: state.apps[APP].node != node, what="the app elsewhere", within_s=60)
            rig.wait_running([APP], within_s=60)
            rig.wait(
                lambda _: container.id not in {it.id for it in containers.list_labelled(labels)},
                what="the container of the node gone",
            )
            assert rig.verify() == []
        finally:
            rig.close()
            server.stop()
            for left in containers.list_labelled(labels):
                containers.remove(left.id)
            containers.close()
