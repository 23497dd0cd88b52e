"""Docker drivers of tests: over one folder and one daemon, as a restarted agent makes them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from agents.containers import Containers
from agents.docker_calls import DockerCalls
from agents.docker_driver import DockerDriver, Reach
from agents.docker_plan import Surroundings, place_of
from agents.docker_sdk import DockerContainers

NODE = "node-127.0.0.1_1"


async def _reach(network: str) -> Surroundings:
    """Nobody beats here."""
    return Surroundings(f"http://127.0.0.1:1/{network}")


def make_docker_driver(
    folder: Path, connect: Callable[[], Containers], reach: Reach = _reach, *, node: str = NODE
) -> DockerDriver:
    """A driver that looks often, so that nobody waits for it."""
    return DockerDriver(
        folder, place_of("test", node, folder), DockerCalls(connect), reach, look_every_s=0.02
    )


def remove_containers(host: str, folder: Path, *, node: str = NODE) -> None:
    """Leave nothing of a test behind."""
    with closing(DockerContainers(host)) as containers:
        for left in containers.list_labelled(place_of("test", node, folder).labels):
            containers.remove(left.id)
