"""Hosts without ssh: commands run on this machine, over pipes that hang, refuse and break when told to."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import deque

from agents.ssh_hosts import HostConfig
from agents.ssh_wire import HostAwayError


class FakeNetwork:
    """All hosts, and what is wrong with them; by default nothing."""

    def __init__(self) -> None:
        #: Home of the user there.
        self.home = "/nowhere"
        #: Hosts that refuse connections, with what they say.
        self.refusing: dict[str, str] = {}
        #: Hosts that take everything and say nothing.
        self.hanging: set[str] = set()
        #: Hosts whose words are lost, while they hear ours.
        self.mute: set[str] = set()
        self.wires: dict[str, list[FakeWire]] = {}

    async def connect(self, host: HostConfig, command: str) -> FakeWire:
        """Run a command on a host."""
        if host.name in self.refusing:
            raise HostAwayError(self.refusing[host.name])
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # As on another machine: nothing of ours is there.
            env={"PATH": "/usr/bin:/bin", "HOME": self.home},
        )
        wire = FakeWire(self, host.name, process)
        self.wires.setdefault(host.name, []).append(wire)
        return wire

    async def cut(self, host: str) -> None:
        """Break all connections to a host."""
        for wire in self.wires.pop(host, []):
            await wire.close()


class FakeWire:
    """A command of this machine in the place of one on a host."""

    def __init__(self, network: FakeNetwork, host: str, process: asyncio.subprocess.Process) -> None:
        self._network = network
        self._host = host
        self._process = process
        self._complaints: deque[str] = deque(maxlen=1)
        self._listening = asyncio.ensure_future(self._listen())

    def write(self, content: bytes) -> None:
        """Send, unless the host hangs."""
        assert self._process.stdin is not None
        if self._host not in self._network.hanging:
            with contextlib.suppress(OSError):
                self._process.stdin.write(content)

    async def read_line(self) -> bytes:
        """The next line; none ever comes from a host that hangs."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if line and self._host in self._network.hanging | self._network.mute:
            await asyncio.get_running_loop().create_future()
        if not line:
            await asyncio.wait([self._listening], timeout=1)
        return line

    def complaint(self) -> str:
        """The last line of its standard error."""
        return self._complaints[-1] if self._complaints else ""

    async def close(self) -> None:
        """The command's input ends, as when a connection does."""
        self._listening.cancel()
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(5):
                await self._process.wait()

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self._complaints.append(line.decode(errors="replace").strip())


def fake_host(home: str, **more: object) -> HostConfig:
    """A host of the fake network."""
    values = {"host": "127.0.0.1", "user": "nobody", "key": "-", "host_key": "-", "nodes_max": 10, **more}
    return HostConfig(**{"python": sys.executable, "home": home, **values})  # type: ignore[arg-type]
