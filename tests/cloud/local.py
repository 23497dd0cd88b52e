"""A cloud on this machine: libcloud's dummy driver with machines that obey their user data and run a real agent.

A machine is a folder and a process. Its user data is read as cloud-init reads it: the files are written (below the
machine's folder), the commands run, with a `systemctl` that starts what the unit says. Each has an address of its own.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from libcloud.common.exceptions import RateLimitReachedError
from libcloud.compute.base import Node
from libcloud.compute.drivers.dummy import DummyNodeDriver
from libcloud.compute.types import NodeState

from agents.cloud_calls import CloudCalls
from agents.cloud_dialects import DIALECTS
from agents.cloud_provider import CloudProvider, Pace
from agents.cloud_sdk import LibcloudMachines
from agents.machines import Naming
from agents.settings import CloudConfig, PoolConfig
from agents.spawner import ROOT

#: A cloud that answers in no time is asked in no time.
PACE = Pace(0.05, 0.02, address_within_s=10.0, end_within_s=10.0, ask_again_s=0.02, answer_within_s=30.0)
_SYSTEMCTL = '#!/bin/sh\nif [ "$1 $2" = "enable --now" ]; then printf %s "$3" > "$MACHINE/enabled"; fi\n'


def local_pool(folder: Path, **changes: Any) -> PoolConfig:
    """A pool of machines that have the code of this project."""
    cloud = {
        "driver": "openstack",
        "size": "small",
        "image": "none",
        "credentials": {"key": "LOCAL_CLOUD_USER", "secret": "LOCAL_CLOUD_PASSWORD"},
        "driver_options": {"ex_force_auth_url": "http://127.0.0.1:9"},
        "address_command": ["sh", "-c", 'cat "$MACHINE/address"'],
        "home": str(ROOT),
        "python": sys.executable,
        "user": "root",
        "tags": {"team": "tests"},
        **changes,
    }
    # Nobody listens there: agents live without Kafka.
    return PoolConfig(
        bootstrap="127.0.0.1:9",
        data_dir=str(folder),
        pool="home",
        prefix="test",
        provider="cloud",
        cloud=CloudConfig(**cloud),
    )


class LocalCloud:
    """All machines, and what is wrong with the cloud; it outlasts providers and their connections."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Node] = []
        self.lock = threading.RLock()
        self.made = 0
        self.calls: list[str] = []
        #: Calls wait while this is cleared.
        self.answers = threading.Event()
        self.answers.set()
        #: So many calls are told that the cloud is busy.
        self.busy = 0
        #: The next machine is made, and the call fails all the same.
        self.fails_after_making: Exception | None = None
        self.has_addresses = True
        self.can_destroy = True
        #: Destroying is accepted, and does not happen.
        self.only_says_so = False
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def provider(self, config: PoolConfig, pace: Pace = PACE) -> CloudProvider:
        """A provider over this cloud."""
        return CloudProvider(
            config, CloudCalls(self.connector(config), first_pause_s=0.01), naming_of(config), pace
        )

    def connector(self, config: PoolConfig) -> Callable[[], LibcloudMachines]:
        """How a thread of calls gets its connection."""
        assert config.cloud is not None
        cloud = config.cloud
        return lambda: LibcloudMachines(LocalDriver(self), DIALECTS[cloud.driver], cloud, naming_of(config))

    def begin(self, call: str) -> None:
        """One call of the API."""
        with self.lock:
            self.calls.append(call)
        self.answers.wait(30.0)
        with self.lock:
            if self.busy:
                self.busy -= 1
                raise RateLimitReachedError(headers={"retry-after": "0"})

    def boot(self, node: Node, user_data: str) -> None:
        """The first start: as cloud-init does it."""
        root = self.folder / node.name
        (root / "bin").mkdir(parents=True)
        (root / "address").write_text(node.extra["address"])
        (root / "bin" / "systemctl").write_text(_SYSTEMCTL)
        (root / "bin" / "systemctl").chmod(0o755)
        assert user_data.startswith("#cloud-config\n")
        document = yaml.safe_load(user_data)
        for file in document["write_files"]:
            path = root / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
        for command in document["runcmd"]:
            subprocess.run(command, check=True, env=self._environment(root))
        if (root / "enabled").exists():
            self.run_unit(node)

    def run_unit(self, node: Node) -> None:
        """Start the agent as the unit says, with the machine's folder as its root."""
        root = self.folder / node.name
        unit = (root / "etc/systemd/system" / (root / "enabled").read_text()).read_text()
        settings = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
        config = root / "etc/watchkeep/agent.json"
        content = json.loads(config.read_text())
        if not content["directory"].startswith(str(root)):
            content["directory"] = str(root) + content["directory"]
            config.write_text(json.dumps(content))
        with (root / "agent.log").open("ab") as log:
            self._processes[node.name] = subprocess.Popen(
                [
                    word.replace("/etc/watchkeep/agent.json", str(config))
                    for word in shlex.split(settings["ExecStart"])
                ],
                cwd=settings["WorkingDirectory"],
                env=self._environment(root),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to all that a machine runs, and see it end if it must."""
        process = self._processes.get(name)
        if process is not None and process.poll() is None:
            os.killpg(process.pid, number)
            if number == signal.SIGKILL:
                process.wait()

    def is_running(self, name: str) -> bool:
        """Whether a machine's agent is a living process."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def vanish(self, name: str) -> None:
        """Somebody else deletes a machine."""
        with self.lock:
            self.nodes = [node for node in self.nodes if node.name != name]
        self.end(name)

    def names(self) -> list[str]:
        """The machines that are there."""
        with self.lock:
            return [node.name for node in self.nodes]

    def close(self) -> None:
        """End what a test left."""
        self.answers.set()
        for name in list(self._processes):
            self.end(name)

    def _environment(self, root: Path) -> dict[str, str]:
        return {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", "MACHINE": str(root)}


class LocalDriver(DummyNodeDriver):
    """The dummy driver, with OpenStack's arguments, names that are kept, and machines that do something."""

    def __init__(self, cloud: LocalCloud) -> None:
        super().__init__("0")
        self.cloud = cloud

    def list_nodes(self) -> list[Node]:
        """All, with their state of now."""
        self.cloud.begin("list")
        with self.cloud.lock:
            for node in self.cloud.nodes:
                if node.extra.get("stopping") and not self.cloud.is_running(node.name):
                    node.state = NodeState.STOPPED
                node.private_ips = [node.extra["address"]] if self.cloud.has_addresses else []
            return list(self.cloud.nodes)

    def create_node(  # type: ignore[override]  # each driver of libcloud has arguments of its own
        self, name: str, size: Any, image: Any, ex_userdata: str, ex_metadata: dict[str, str]
    ) -> Node:
        """Make a machine and start it."""
        self.cloud.begin("create")
        with self.cloud.lock:
            self.cloud.made += 1
            self.nl = self.cloud.nodes
            node: Node = super().create_node(name, size, image)
            node.id, node.name, node.public_ips = f"id-{self.cloud.made}", name, []
            node.extra = {"address": f"127.0.1.{self.cloud.made}", "metadata": ex_metadata, "stopping": False}
            error, self.cloud.fails_after_making = self.cloud.fails_after_making, None
            if error is not None:
                raise error
            self.cloud.boot(node, ex_userdata)
            return node

    def destroy_node(self, node: Node) -> bool:
        """Power off and delete."""
        self.cloud.begin("destroy")
        if not self.cloud.can_destroy:
            raise RuntimeError("destroying is out of order")
        if self.cloud.only_says_so:
            return True
        with self.cloud.lock:
            self.cloud.end(node.name)
            self.nl = self.cloud.nodes
            return bool(super().destroy_node(node))

    def stop_node(self, node: Node) -> bool:
        """Ask it to shut down."""
        self.cloud.begin("stop")
        node.extra["stopping"] = True
        self.cloud.end(node.name, signal.SIGTERM)
        return True

    def start_node(self, node: Node) -> bool:
        """Start it again."""
        self.cloud.begin("start")
        node.extra["stopping"] = False
        node.state = NodeState.RUNNING
        self.cloud.run_unit(node)
        return True


def naming_of(config: PoolConfig) -> Naming:
    """The names of a pool in tests."""
    return Naming(prefix=config.prefix, pool=config.pool, owner=Path(config.data_dir).name)
