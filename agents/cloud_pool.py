"""The provider of a pool of cloud machines, its owner and its credentials. Shell of the agents; loaded where used."""

import ipaddress
import logging
import os
import secrets
from pathlib import Path

from agents.cloud_calls import CloudCalls
from agents.cloud_init import render_user_data
from agents.cloud_provider import CloudProvider
from agents.disk import write_atomic
from agents.driver import StartError
from agents.machines import CloudError, Machines, Naming
from agents.secrets import read_secret
from agents.settings import PoolConfig

log = logging.getLogger("watchkeep.cloud")

_OWNER_BYTES = 8


def create_cloud_provider(config: PoolConfig) -> CloudProvider:
    """The provider; nothing is asked of the cloud yet.

    Raises:
        SystemExit: a credential is missing, or the user data would be too long; one sentence.
    """
    assert config.cloud is not None
    cloud = config.cloud
    folder = Path(config.secrets or Path(config.data_dir) / "secrets")
    try:
        for name in cloud.credentials.values():
            read_credential(name, folder)
        # The longest there can be: what is refused later is refused at the first machine.
        render_user_data(config, order=2**63 - 1, port=65_535, slots=10_000)
    except (CloudError, ValueError) as error:
        raise SystemExit(f"provisioner of pool {config.pool}: {error}") from None
    if is_only_here(cloud.bootstrap or config.bootstrap):
        log.warning("the machines of pool %s are told to find Kafka at a loopback address", config.pool)
    naming = Naming(prefix=config.prefix, pool=config.pool, owner=cloud.owner or drawn_owner(config))

    def connect() -> Machines:
        # Loaded by the first call, in its thread: libcloud takes half a second.
        from agents.cloud_sdk import connect as connect_with_libcloud

        return connect_with_libcloud(cloud, naming, lambda name: read_credential(name, folder))

    return CloudProvider(config, CloudCalls(connect), naming)


def drawn_owner(config: PoolConfig) -> str:
    """What tells our machines from others': drawn once, kept beside the book."""
    path = Path(config.data_dir) / "pools" / config.pool / "owner"
    try:
        owner = path.read_text().strip()
    except FileNotFoundError:
        owner = ""
    if not owner:
        owner = secrets.token_hex(_OWNER_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, f"{owner}\n".encode())
    return owner


def read_credential(name: str, folder: Path) -> str:
    """The environment variable of that name, else the file of that name among the secrets.

    Raises:
        CloudError: there is neither; the text names it, never a value.
    """
    value = os.environ.get(name)
    if value:
        return value
    try:
        return read_secret(folder, name)
    except StartError as error:
        raise CloudError(f"no environment variable {name}, and {error}") from None


def is_only_here(bootstrap: str) -> bool:
    """Whether all of Kafka's addresses are those of this machine alone."""
    hosts = [server.strip().rpartition(":")[0].strip("[]") for server in bootstrap.split(",")]
    return all(host == "localhost" or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
