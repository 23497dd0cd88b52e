"""A provisioner whose nodes each have a network namespace: `python -m bench.returning.spaced --config FILE`. Shell.

It is the provisioner of every platform with the process provider; only its agents are started elsewhere. Such a node
is still named after the pool's address, and listens on its own, as behind a router that translates.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agents import procfs
from agents.disk import DirectoryLock, InUseError
from agents.entry import config_path, set_up_log
from agents.provisioner import run_pool
from agents.settings import NodeConfig, PoolConfig, read_config
from agents.spawner import ROOT, starting_environment
from bench.results import BenchError
from bench.returning.spaces import HUB_ENV, make_space


class SpacedSpawner:
    """Starts each agent in the namespace of its node."""

    def __init__(self, hub: str) -> None:
        self._hub = hub

    async def spawn(self, config: Path, log_fd: int) -> int:
        """Make the namespace and start `python -m agents.node` in it."""
        told = read_config(str(config), NodeConfig)
        try:
            space, address = await asyncio.to_thread(make_space, self._hub, told.port)
        except BenchError as error:
            raise OSError(str(error)) from None
        spaced = config.with_name("agent-spaced.json")
        spaced.write_bytes(msgspec.json.encode(replace(told, listen_ip=address)))
        process = subprocess.Popen(
            ["nsenter", f"--net={space}", sys.executable, "-m", "agents.node", "--config", str(spaced)],
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            cwd=ROOT,
            start_new_session=True,
            env=starting_environment(),
        )
        process.returncode = 0  # Ours to reap, not its destructor's to complain about.
        return process.pid

    async def reap(self, pid: int) -> int | None:
        """As the parent."""
        return procfs.reap(pid)

    def close(self) -> None:
        """The namespaces go with their hub."""


def main(argv: list[str]) -> None:
    """Run it."""
    config = read_config(config_path(argv, program="bench.returning.spaced"), PoolConfig)
    set_up_log(config.log_level)
    try:
        DirectoryLock(Path(config.data_dir) / "pools" / config.pool)
        asyncio.run(run_pool(config, SpacedSpawner(os.environ[HUB_ENV])))
    except (InUseError, OSError) as error:
        raise SystemExit(f"provisioner of pool {config.pool}: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
