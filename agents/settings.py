"""Configuration files of the agents: JSON, written by whoever starts them. Shell of the agents.

Checked by msgspec: an unknown key or a wrong type is an error that names it.
"""

from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from agents.cloud_checks import check_cloud

T = TypeVar("T")
#: An agent with its Kafka client takes some 60 MiB; with less than this it could not start, and with rlimits, which
#: count address space, it needs some of it more. The upper bounds are those of a large machine: a slip of units shows.
NODE_MEMORY_MIN_MIB, NODE_MEMORY_MAX_MIB = 128, 16_777_216
#: Less than a tenth of a core makes an agent too slow to beat in time; at most 1,024 cores.
NODE_CPU_MIN_PERCENT, NODE_CPU_MAX_PERCENT = 10, 102_400
LogLevel = Literal["debug", "info", "warning", "error"]


class DockerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That nodes may run apps as containers."""

    #: Address of the daemon; empty: what DOCKER_HOST says, or the usual socket.
    host: str = ""
    #: Kafka's addresses as apps in a bridge network see them; empty: those of the node.
    bootstrap: str = ""
    #: For the provider `docker`: its nodes get the daemon's socket, and so the driver `docker`. Whoever has that
    #: socket is root of the machine.
    socket_in_nodes: bool = False
    #: Whether the pids that the daemon tells are those that the agent sees; not so in a container.
    shares_pids: bool = True


class CloudConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node is made of where nodes are machines of a cloud."""

    #: Which of libcloud's drivers; `agents.cloud_dialects` says what each of them needs.
    driver: Literal["azure_arm", "ec2", "gce", "openstack"]
    #: As the cloud names it: `Standard_B2s`, `t3.small`, `e2-small`, the id of a flavor.
    size: str
    #: As the cloud names it: `Publisher:Offer:Sku:Version`, `ami-...`, a name, the id of an image.
    image: str
    #: What the driver is made with, as the NAME of an environment variable of the provisioner or of a file in the
    #: folder of the secrets: `{"key": "AWS_ACCESS_KEY_ID"}`. Never the value itself.
    credentials: dict[str, str]
    region: str = ""
    #: Availability zone, where the driver can choose one.
    zone: str = ""
    #: Which address a node is named after and found at. Private: provisioner and nodes are in one network.
    address: Literal["private", "public"] = "private"
    #: Prints the address, run by the agent in the machine; empty: private the one that leads to Kafka, public what
    #: the cloud's metadata service says.
    address_command: list[str] = []
    #: Further arguments of libcloud's `create_node`: network, subnet, security groups, spot, disk.
    options: dict[str, Any] = {}
    #: Further arguments of the driver itself: project, endpoint. Not for secrets.
    driver_options: dict[str, str | int | bool] = {}
    #: Further tags of each machine. Ours begin with `watchkeep-`.
    tags: dict[str, str] = {}
    #: Who may log in to a machine; Azure creates none without.
    ssh_public_key: str = ""
    #: Kafka's addresses as the machines see them; empty: those of the provisioner.
    bootstrap: str = ""
    #: Commands of the shell that bring the code to `home`, run once by root; none: the image has it.
    install: list[str] = []
    #: Where the code is, and the Python that runs it.
    home: str = "/usr/local/watchkeep"
    python: str = "/usr/local/watchkeep/.venv/bin/python"
    #: Who the agent and its apps are; made if missing.
    user: str = "watchkeep"
    #: Tells this pool's machines from those of others in the same account; empty: drawn once and kept in
    #: `<data_dir>/pools/<pool>/owner`. Set it where that folder may be lost, but never the same one twice.
    owner: str = ""

    def __post_init__(self) -> None:
        """Refuse what could only fail later, when a machine is wanted.

        Raises:
            ValueError: with one sentence.
        """
        check_cloud(self)


class NodeProcess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node may use where nodes are processes, agent and apps together; `agents.node_bounds` keeps it."""

    #: 0: no limit, and all the machine's memory is offered.
    memory_mib: int = 0
    #: Of one core; 0: no limit, and all cores are offered.
    cpu_percent: int = 0

    def __post_init__(self) -> None:
        """Refuse what no agent could start with.

        Raises:
            ValueError: with one sentence.
        """
        if self.memory_mib and not NODE_MEMORY_MIN_MIB <= self.memory_mib <= NODE_MEMORY_MAX_MIB:
            raise ValueError(
                f"memory_mib of a node = {self.memory_mib} is not allowed; "
                f"allowed: 0, or {NODE_MEMORY_MIN_MIB} to {NODE_MEMORY_MAX_MIB}"
            )
        if self.cpu_percent and not NODE_CPU_MIN_PERCENT <= self.cpu_percent <= NODE_CPU_MAX_PERCENT:
            raise ValueError(
                f"cpu_percent of a node = {self.cpu_percent} is not allowed; "
                f"allowed: 0, or {NODE_CPU_MIN_PERCENT} to {NODE_CPU_MAX_PERCENT}"
            )


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of a node agent."""

    #: Kafka's addresses, `host:port[,host:port]`.
    bootstrap: str
    #: Where lock, books and logs of this node live.
    directory: str
    #: What the node is named after; empty: the agent finds it out, see `agents.own_address`.
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
    #: Prints `ip` where that is empty; none: the address of this machine that leads to Kafka.
    address_command: list[str] = []
    #: Address to listen on where `ip` is that of a translating router; empty: `ip`.
    listen_ip: str = ""
    #: File with what whoever wants to run a command beside an app must know; empty: nobody may.
    exec_token: str = ""
    #: Whether another agent adopts the apps of one that died. If not, those that must not run unheard end with it.
    is_replaced: bool = True
    #: For the agent and all its apps together, see `NodeProcess`.
    bounds: NodeProcess | None = None


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
    #: Lowest and highest port of its nodes; another pool on this address has others.
    port_base: int = 8_082
    port_last: int = 65_535
    prefix: str = "watchkeep"
    provider: Literal["process", "docker", "ssh", "cloud"] = "process"
    #: For the provider `process`.
    process: NodeProcess = NodeProcess()
    #: For the provider `docker`.
    container: NodeContainer = NodeContainer()
    log_level: LogLevel = "info"
    #: An agent that dies is started again on its node and adopts the apps, which run on meanwhile. Otherwise the
    #: node is destroyed with all that is left of it.
    restart_agents: bool = False
    #: The daemon: of its nodes' driver, and of the provider `docker`.
    docker: DockerConfig | None = None
    #: For the provider `ssh`.
    ssh: SshConfig | None = None
    #: Folder of the secrets, one file each; empty: `secrets` in the data directory.
    secrets: str = ""
    #: Of its nodes, see there.
    exec_token: str = ""
    #: For the provider `cloud`.
    cloud: CloudConfig | None = None

    def __post_init__(self) -> None:
        """Refuse a provider without what it needs.

        Raises:
            ValueError: with one sentence.
        """
        if self.provider == "cloud" and self.cloud is None:
            raise ValueError(f"pool {self.pool}: the provider cloud needs the table `cloud`")


def read_config(path: str, kind: type[T]) -> T:
    """The configuration at `path`.

    Raises:
        SystemExit: it cannot be read or is wrong; with a line that says what.
    """
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise SystemExit(f"configuration {path}: {error}") from None
