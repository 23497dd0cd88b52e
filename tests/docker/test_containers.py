"""Apps as containers of a real docker daemon: beats, limits, logs, ends, adoption."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from agents.containers import ContainerError
from agents.docker_driver import DockerDriver
from agents.docker_image import IMAGE
from agents.docker_node import create_docker_driver
from agents.docker_plan import place_of
from agents.docker_sdk import DockerContainers
from agents.door import Door
from agents.driver import StartError
from agents.endpoint import Answers, Endpoint
from agents.settings import DockerConfig, NodeConfig
from sdk.contract.orders import AppOrder
from sdk.contract.specs import DockerSpec
from tests.agents.waiting import until
from tests.docker.daemon import Daemon
from tests.docker.drivers import NODE

BEAT = "from sdk.heartbeat import heart_beat; heart_beat()"
APP = "application-a"


class Agent:
    """As much of a node agent as its containers see."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder
        self.containers = DockerContainers(daemon.host)
        self.beats: list[tuple[str, int]] = []
        self.exits: list[tuple[object, ...]] = []

    def play(self, act: Callable[[DockerDriver], Awaitable[None]]) -> None:
        """Run `act` with a driver whose agent listens, in the daemon's network."""

        async def run() -> None:
            config = NodeConfig(
                bootstrap="",
                directory=str(self.folder),
                ip="127.0.0.1",
                port=18_099,
                pool="home",
                prefix="test",
                docker=DockerConfig(self.daemon.host),
            )
            door = Door(config.ip, config.port)
            driver = await create_docker_driver(config, NODE, self.folder, door)
            assert driver is not None
            driver.on_exit = lambda *exit_: self.exits.append(exit_)
            endpoint = Endpoint(Answers(self._take_beat, dict, list, driver.log_tail))
            await endpoint.listen(config.ip, config.port)
            await door.open(endpoint)
            try:
                await act(driver)
            finally:
                driver.close()
                await endpoint.close()

        with self.daemon.network():
            asyncio.run(run())

    def left(self) -> list[str]:
        """The apps of which there is a container."""
        labels = place_of("test", NODE, self.folder).labels
        return [it.labels["watchkeep.app"] for it in self.containers.list_labelled(labels)]

    def _take_beat(self, app: str, generation: int) -> bool:
        self.beats.append((app, generation))
        return True

    def close(self) -> None:
        """Leave nothing behind."""
        for left in self.containers.list_labelled(place_of("test", NODE, self.folder).labels):
            self.containers.remove(left.id)
        self.containers.close()


@pytest.fixture
def agent(docker_daemon: Daemon, tmp_path: Path) -> Iterator[Agent]:
    """An agent on the real daemon."""
    agent = Agent(docker_daemon, tmp_path)
    yield agent
    agent.close()


def order(code: str, *, generation: int = 7, **docker: object) -> AppOrder:
    """An order for a Python program."""
    spec = DockerSpec(IMAGE, **docker)  # type: ignore[arg-type]
    return AppOrder(APP, generation, ["python3", "-c", code], driver="docker", docker=spec)


@pytest.mark.parametrize("network", ["host", "bridge"])
def test_app_in_a_container_beats_to_its_agent(agent: Agent, network: str) -> None:
    """The SDK is there without being in the image, and reaches the agent from either network."""

    async def act(driver: DockerDriver) -> None:
        await driver.start(order(BEAT, network=network))
        await until(lambda: agent.beats)
        assert agent.beats[0] == (APP, 7)
        await driver.kill(APP, 7)
        await until(lambda: agent.exits)

    agent.play(act)
    assert agent.exits == [(APP, 7, -9, "killed by signal 9")]


def test_adopted_container_goes_on_beating(agent: Agent) -> None:
    """The next agent finds the same process, which beats to it over the bridge without being started again."""
    pids: list[int] = []

    async def before(driver: DockerDriver) -> None:
        pids.append(await driver.start(order(BEAT, network="bridge")))
        await until(lambda: agent.beats)

    async def after(driver: DockerDriver) -> None:
        (found,) = await driver.adopt()
        assert (found.key, found.epoch, found.status, found.pid) == (APP, 7, "alive", pids[0])
        agent.beats.clear()
        await until(lambda: agent.beats)
        assert await driver.start(order(BEAT, network="bridge")) == pids[0]
        await driver.kill(APP, 7)
        await until(lambda: agent.exits)

    agent.play(before)
    agent.play(after)


def test_dead_container_tells_how_it_ended_while_nobody_looked(agent: Agent) -> None:
    """An exit code outlives the agent, until the copy is forgotten; then nothing of it is left but its log."""

    async def before(driver: DockerDriver) -> None:
        await driver.start(order("print('so long'); raise SystemExit(3)"))
        await until(lambda: agent.exits)

    async def after(driver: DockerDriver) -> None:
        (found,) = await driver.adopt()
        assert (found.status, found.exit_code, found.reason) == ("dead", 3, "exited with code 3")
        assert await driver.log_tail(APP, 5) == b"so long\n"
        await driver.forget(APP, 7)
        assert await driver.log_tail(APP, 5) == b"so long\n"

    agent.play(before)
    agent.play(after)
    assert agent.left() == []


def test_container_is_locked_in(agent: Agent) -> None:
    """Read-only root with a /tmp of its own, another user, no new privileges, limits, and the process as asked for."""
    code = (
        "import json, os, pathlib\n"
        "pathlib.Path('/tmp/x').write_text('x')\n"
        "status = dict(line.split(':\\t', 1) for line in open('/proc/self/status') if ':\\t' in line)\n"
        "try: pathlib.Path('/app/x').write_text('x'); wrote = True\n"
        "except OSError: wrote = False\n"
        "print(json.dumps([os.getuid(), wrote, status['NoNewPrivs'].strip()]), flush=True)\n"
        "import time; time.sleep(600)"
    )

    async def act(driver: DockerDriver) -> None:
        await driver.start(order(code, user="65534", memory_mib=64, cpu_percent=50))
        tail = b""
        while not tail:
            tail = await driver.log_tail(APP, 1)
        assert json.loads(tail) == [65_534, False, "1"]
        (made,) = agent.containers.list_labelled(place_of("test", NODE, agent.folder).labels)
        settings = agent.containers._api.inspect_container(made.id)["HostConfig"]
        assert (settings["Memory"], settings["NanoCpus"]) == (64 << 20, 500_000_000)
        assert settings["RestartPolicy"]["Name"] == "no"
        await driver.kill(APP, 7)
        await until(lambda: agent.exits)

    agent.play(act)


def test_using_too_much_memory_is_said_to_be_the_reason(agent: Agent) -> None:
    """An app over its limit is killed, and the exit says why."""

    async def act(driver: DockerDriver) -> None:
        await driver.start(order("x = bytearray(200 << 20); print(len(x))", memory_mib=32))
        await until(lambda: agent.exits)

    agent.play(act)
    assert agent.exits == [(APP, 7, -9, "killed: it used more memory than it may")]


def test_paused_container_can_be_stopped_and_killed(agent: Agent) -> None:
    """A container that somebody paused ends all the same."""

    async def act(driver: DockerDriver) -> None:
        for generation, end in ((7, driver.stop), (8, driver.kill)):
            await driver.start(order("import time; time.sleep(600)", generation=generation))
            (made,) = [it for it in agent.containers.list_labelled({"watchkeep.node": NODE}) if it.is_alive]
            agent.containers._api.pause(made.id)
            await end(APP, generation)
            await until(lambda generation=generation: len(agent.exits) == generation - 6)  # type: ignore[misc]

    agent.play(act)
    assert [it[2] for it in agent.exits] == [-15, -9]


def test_container_that_somebody_removed_has_ended(agent: Agent) -> None:
    """`docker rm -f` behind our back is an exit."""

    async def act(driver: DockerDriver) -> None:
        await driver.start(order("import time; time.sleep(600)"))
        (made,) = agent.containers.list_labelled({"watchkeep.node": NODE})
        agent.containers.remove(made.id)
        await until(lambda: agent.exits)

    agent.play(act)
    assert agent.exits[0][:2] == (APP, 7)


def test_missing_image_is_said_and_never_pulled(agent: Agent) -> None:
    """The reason names the image and that nothing is fetched."""

    async def act(driver: DockerDriver) -> None:
        wish = AppOrder(APP, 7, ["true"], docker=DockerSpec("no-such/image:1"))
        with pytest.raises(
            StartError, match=r"no image no-such/image:1 on this machine, and none is ever pulled"
        ):
            await driver.start(wish)

    agent.play(act)
    assert agent.left() == []


def test_half_made_and_strange_containers_are_removed(agent: Agent) -> None:
    """What was created and never started, and what carries our labels and is unknown, does not stay."""
    place = place_of("test", NODE, agent.folder)
    api = agent.containers._api

    def create(app: str) -> str:
        made = api.create_container(IMAGE, ["sleep", "600"], labels=place.labels_of(app, 3))
        return str(made["Id"])

    async def act(driver: DockerDriver) -> None:
        create("application-half")
        assert await driver.adopt() == []
        assert agent.left() == []
        api.start(create("application-stranger"))
        await driver.tidy()

    agent.play(act)
    assert agent.left() == []


def test_daemon_that_is_not_there_is_an_error_in_words() -> None:
    """No traceback of an HTTP library."""
    with pytest.raises(ContainerError, match="the docker daemon does not answer"):
        DockerContainers("unix:///no/such/docker.sock").ping()
