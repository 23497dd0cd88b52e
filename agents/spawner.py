"""Starts node agents as processes in sessions of their own. Shell of the agents."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent


class Spawner(Protocol):
    """Starts an agent with a configuration file and a log; gives its pid."""

    async def spawn(self, config: Path, log: int) -> int:
        """Start an agent; OSError if that cannot be done."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class PlainSpawner:
    """A fresh interpreter for each agent."""

    async def spawn(self, config: Path, log: int) -> int:
        """Start `python -m agents.node`."""
        process = subprocess.Popen(
            [sys.executable, "-m", "agents.node", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
            env=starting_environment(),
        )
        process.returncode = 0  # Ours to reap, not its destructor's to complain about.
        return process.pid

    def close(self) -> None:
        """Nothing to free."""


def starting_environment() -> dict[str, str]:
    """Our environment for what we start; compiled modules allowed, each start pays for them else."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
