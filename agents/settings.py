"""Configuration files of the agents: JSON, written by whoever starts them. Shell of the agents.

Checked by msgspec: an unknown key or a wrong type is an error that names it.
"""

from pathlib import Path
from typing import Literal, TypeVar

import msgspec

T = TypeVar("T")
LogLevel = Literal["debug", "info", "warning", "error"]


class DockerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That nodes may run apps as containers."""

    #: Address of the daemon; empty: what DOCKER_HOST says, or the usual socket.
    host: str = ""


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of a node agent."""

    #: Kafka's addresses, `host:port[,host:port]`.
    bootstrap: str
    #: Where lock, books and logs of this node live.
    directory: str
    ip: str
    port: int
    pool: str
    prefix: str = "watchkeep"
    #: The order that made the node.
    order: int = 0
    slots: int = 4
    log_level: LogLevel = "info"
    #: Folder of the secrets, one file each; empty: `secrets` in the node's directory.
    secrets: str = ""
    #: None: only the driver `process`.
    docker: DockerConfig | None = None
    #: File with what whoever wants to run a command beside an app must know; empty: nobody may.
    exec_token: str = ""


class NodeContainer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node is made of where nodes are containers."""

    #: Must be on this machine and have the Python that runs the provisioner, at the same path.
    image: str = "watchkeep/python:local"
    #: For the agent and all its apps; 0: no limit.
    memory_mib: int = 0
    #: Of one core; 0: no limit.
    cpu_percent: int = 0


class SshConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the nodes of a pool live that is spread over other machines."""

    #: TOML file of the hosts; `agents.ssh_hosts.HostConfig` says what may stand in it. Relative to where the
    #: provisioner was started.
    hosts: str
    #: Kafka's addresses as the hosts see them; empty: those of the provisioner.
    bootstrap: str = ""


class PoolConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of a provisioner."""

    bootstrap: str
    #: Holds `nodes/`, `pools/` and `secrets/`.
    data_dir: str
    pool: str
    #: Address that its nodes listen on.
    ip: str = "127.0.0.1"
    #: Lowest port of its nodes.
    port_base: int = 8_082
    prefix: str = "watchkeep"
    provider: Literal["process", "docker", "ssh"] = "process"
    #: For the provider `docker`.
    container: NodeContainer = NodeContainer()
    log_level: LogLevel = "info"
    #: An agent that dies is started again on its node and adopts the apps, which run on meanwhile. Otherwise the
    #: node is destroyed with all that is left of it.
    restart_agents: bool = False
    #: The daemon: of its nodes' driver, and of the provider `docker`, whose nodes do not have that driver.
    docker: DockerConfig | None = None
    #: For the provider `ssh`.
    ssh: SshConfig | None = None
    #: Folder of the secrets, one file each; empty: `secrets` in the data directory.
    secrets: str = ""
    #: Of its nodes, see there.
    exec_token: str = ""


def read_config(path: str, kind: type[T]) -> T:
    """The configuration at `path`.

    Raises:
        SystemExit: it cannot be read or is wrong; with a line that says what.
    """
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise SystemExit(f"configuration {path}: {error}") from None
