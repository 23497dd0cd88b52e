"""What the container of an app is made of. Pure; part of the docker driver."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from agents.containers import Container, ContainerPlan, Mount
from agents.disk import home_of
from sdk.contract.orders import AppOrder
from sdk.contract.specs import DockerSpec

#: Our own packages on this machine.
ROOT = Path(__file__).resolve().parent.parent
#: Where `sdk` lies inside a container, read-only, so that an app with Python can beat.
SDK_HOME = "/opt/watchkeep"
#: Where the files of an order lie inside its container, read-only, and where it then starts.
WORK = f"{SDK_HOME}/work"
#: Which run of a platform a process belongs to: `up` and tests end by it what they left.
_RUN_MARK = "WATCHKEEP_RUN_MARK"
#: Longest name that we give; docker itself takes 253 letters.
_NAME_MAX = 200


class Place(msgspec.Struct, frozen=True):
    """Whose containers: the node and its platform."""

    prefix: str
    node: str
    #: Tells platforms apart that have prefix and node id in common.
    home: str

    @property
    def labels(self) -> dict[str, str]:
        """What every container of this node carries."""
        return {
            "watchkeep.kind": "app",
            "watchkeep.prefix": self.prefix,
            "watchkeep.node": self.node,
            "watchkeep.home": self.home,
        }

    def labels_of(self, app: str, generation: int) -> dict[str, str]:
        """What the container of a copy carries."""
        return {**self.labels, "watchkeep.app": app, "watchkeep.generation": str(generation)}

    def epoch_of(self, container: Container) -> tuple[str, int]:
        """App and generation of a container with our labels; generation -1 if its label was tampered with."""
        generation = container.labels.get("watchkeep.generation", "")
        number = int(generation) if generation.isascii() and generation.isdigit() else -1
        return container.labels.get("watchkeep.app", ""), number


class Surroundings(msgspec.Struct, frozen=True):
    """What an app finds from the network that its container is in."""

    #: Where its agent takes its beats.
    agent_url: str
    #: Variables by which the SDK finds Kafka and the platform; an order may say otherwise.
    platform: Mapping[str, str] = {}


def place_of(prefix: str, node: str, directory: Path) -> Place:
    """The place of a node that keeps its files in `directory`."""
    return Place(prefix, node, home_of(directory))


def plan_container(
    order: AppOrder, docker: DockerSpec, place: Place, *, surroundings: Surroundings, work: Path
) -> ContainerPlan:
    """The container of an order; `work` is where its files lie on this machine, if it has any."""
    mark = os.environ.get(_RUN_MARK)
    return ContainerPlan(
        name=container_name(place, order.app, order.generation),
        image=docker.image,
        command=order.command,
        env={
            "PYTHONUNBUFFERED": "1",
            **surroundings.platform,
            **order.env,
            "PYTHONPATH": ":".join(filter(None, [SDK_HOME, order.env.get("PYTHONPATH")])),
            "WATCHKEEP_AGENT": surroundings.agent_url,
            "WATCHKEEP_NODE_ID": place.node,
            "WATCHKEEP_APP_ID": order.app,
            "WATCHKEEP_GENERATION": str(order.generation),
            **({_RUN_MARK: mark} if mark else {}),
        },
        labels=place.labels_of(order.app, order.generation),
        network=docker.network,
        user=docker.user,
        read_only=docker.read_only,
        memory_mib=docker.memory_mib or order.memory_limit_mib,
        cpu_percent=docker.cpu_percent or order.cpu_limit_percent,
        mounts=[
            Mount(str(ROOT / "sdk"), f"{SDK_HOME}/sdk"),
            *([Mount(str(work.resolve()), WORK)] if order.files else []),
        ],
        working_dir=WORK if order.files else "",
    )


def container_name(place: Place, app: str, generation: int) -> str:
    """A name that one copy has: starting it twice cannot make two containers."""
    plain = re.sub(r"[^a-zA-Z0-9_.-]", "_", f"{place.prefix}-{place.node}-{app}")[: _NAME_MAX - 40]
    # What was cut or replaced still tells apart.
    told = hashlib.sha256(f"{place.home} {place.node} {app}".encode()).hexdigest()[:8]
    return f"{plain}-{told}-{generation}"
