"""What a provider writes down of its nodes: order, name, port, state. Shell of the agents.

The book `<data_dir>/pools/<pool>/nodes.json` says which order made which node and which port is the first that was
never given out; it is written before a node is started.
"""

import asyncio
import os
import socket
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from agents.disk import read_record, write_atomic
from agents.docker_sdk import USUAL_HOST
from agents.provider import CreateError
from agents.settings import DockerConfig, NodeConfig, PoolConfig

#: Between two tries whether a new agent answers, and when to give up asking: silence is the planner's matter.
ANSWER_PAUSE_S = 0.1
ANSWER_TRIES_MAX = 600


class Entry(msgspec.Struct):
    """A node in the book."""

    order: int
    node: str
    port: int
    slots: int
    #: Agent's process, 0 if it was not started (yet, or as far as the book knows).
    pid: int = 0
    start: int = 0
    #: Start time of its first agent, older than anything else of the node.
    born: int = 0
    state: Literal["made", "parked", "ended"] = "made"


class Book(msgspec.Struct):
    """What the provider keeps on disk."""

    #: Every port below was given out or lies under the platform's first port.
    port_floor: int = 0
    nodes: list[Entry] = []


class NodeBook:
    """The book, as it is on disk."""

    def __init__(self, path: Path, config: PoolConfig) -> None:
        self._path = path
        self._config = config
        book = read_record(path, Book, Book())
        self.port_floor = book.port_floor
        self.entries = {entry.order: entry for entry in book.nodes}

    def write(self) -> None:
        """Bring it to disk."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        book = Book(self.port_floor, list(self.entries.values()))
        write_atomic(self._path, msgspec.json.encode(book))

    def take_port(self, floor: int, *, is_here: bool = True) -> int:
        """The first port that was never given out and, if it is to be one of this machine, can be bound."""
        first, last = max(floor, self.port_floor, self._config.port_base), self._config.port_last
        for port in range(first, last + 1):
            if not is_here or self._can_bind(port):
                self.port_floor = port + 1
                return port
        raise CreateError(f"no free port on {self._config.ip} from {first} to {last}")

    def _can_bind(self, port: int) -> bool:
        family = socket.AF_INET6 if ":" in self._config.ip else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._config.ip, port))
            except OSError:
                return False
        return True


def write_node_config(pool: PoolConfig, entry: Entry, directory: Path) -> Path:
    """Write the configuration of a node's agent into its directory; where it is."""
    config = NodeConfig(
        bootstrap=pool.bootstrap,
        prefix=pool.prefix,
        directory=str(directory),
        ip=pool.ip,
        port=entry.port,
        order=entry.order,
        pool=pool.pool,
        slots=entry.slots,
        log_level=pool.log_level,
        secrets=pool.secrets or str(Path(pool.data_dir).resolve() / "secrets"),
        exec_token=str(Path(pool.exec_token).resolve()) if pool.exec_token else "",
        docker=_docker_of(pool),
        is_replaced=pool.restart_agents,
        # A container has its own.
        bounds=pool.process if pool.provider == "process" else None,
    )
    path = directory / "agent.json"
    write_atomic(path, msgspec.json.encode(config))
    return path


def _docker_of(pool: PoolConfig) -> DockerConfig | None:
    """The daemon of a node: in a container there is none but through the socket of the machine's."""
    if pool.docker is None or pool.provider == "process":
        return pool.docker
    if not pool.docker.socket_in_nodes:
        return None
    return replace(pool.docker, host=daemon_host(pool.docker), shares_pids=False)


def daemon_host(docker: DockerConfig) -> str:
    """Where its daemon is, said in full."""
    return docker.host or os.environ.get("DOCKER_HOST") or USUAL_HOST


async def answers(ip: str, port: int, node: str) -> bool:
    """Whether an agent of that name listens there."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(ip, port)
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
                return node.encode() in await reader.read(4_096)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
