"""Network namespaces of ours: a hub where a platform lives, and one for each node, whose cable can be pulled. Shell.

1. The hub has a bridge and no way out. A node's namespace has a veth pair: `eth0` inside, the other end on the bridge.
2. A cut takes the hub's end down: nothing comes or goes, connections stay open and new ones stay unanswered, as when a
   cable is pulled. Agent and apps reach each other all the while, as they share the node's namespace.
3. Everything is named after the hub, and whoever made the hub takes all of it away.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from bench.results import BenchError

#: Address of the bridge; the rest of the network is for nodes, each with its port as the last two bytes, which no two
#: of a run have in common.
HUB_IP: Final = "10.77.0.1"
#: Named in the environment of whoever makes nodes in here.
HUB_ENV: Final = "WATCHKEEP_RUN_HUB"
_NETNS: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x4000_0000
#: A command of `ip` takes some ms, on an overloaded machine a second.
_WITHIN_S: Final = 20


class Hub:
    """A hub; the thread that enters it, and all that this starts, is in it until it leaves."""

    def __init__(self) -> None:
        self.name = f"wk-{uuid.uuid4().hex[:8]}"
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._home = -1
        #: Agent -> the hub's end of the cable that was pulled.
        self._cables: dict[int, str] = {}

    def __enter__(self) -> Self:
        """Make it and go in.

        Raises:
            BenchError: no namespace can be had here; one sentence.
        """
        if os.geteuid() != 0:
            raise BenchError("network namespaces take root")
        try:
            _ip("netns", "add", self.name)
            _ip("-n", self.name, "link", "set", "lo", "up")
            _ip("-n", self.name, "link", "add", "br0", "type", "bridge")
            _ip("-n", self.name, "addr", "add", f"{HUB_IP}/16", "dev", "br0")
            _ip("-n", self.name, "link", "set", "br0", "up")
            # A kernel may have namespaces and no veth.
            make_space(self.name, 1)
            self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            with (_NETNS / self.name).open() as there:
                self._enter(there.fileno())
        except OSError as error:
            self.__exit__()
            raise BenchError(f"no network namespace can be had: {error.strerror or error}") from None
        except BenchError:
            self.__exit__()
            raise
        os.environ[HUB_ENV] = self.name
        return self

    def __exit__(self, *_: object) -> None:
        """Leave, and take away the hub and all of its nodes' namespaces."""
        os.environ.pop(HUB_ENV, None)
        if self._home >= 0:
            self._enter(self._home)
            os.close(self._home)
            self._home = -1
        for name in sorted(it.name for it in _NETNS.glob(f"{self.name}*")):
            with suppress(BenchError):
                _ip("netns", "del", name)

    def cut(self, pid: int) -> None:
        """Pull the cable of the node whose agent this is."""
        self._cables[pid] = f"v{_port_of(pid)}"
        _ip("-n", self.name, "link", "set", self._cables[pid], "down")

    def heal(self, pid: int) -> None:
        """Put it in again; the agent may be gone by now."""
        _ip("-n", self.name, "link", "set", self._cables.pop(pid), "up")

    def _enter(self, space: int) -> None:
        if self._libc.setns(space, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def make_space(hub: str, port: int) -> tuple[Path, str]:
    """Make the namespace of the node with this port, if it is not there; its file, and the node's address in it.

    Raises:
        BenchError: it cannot be made.
    """
    name, address = f"{hub}-{port}", f"10.77.{port >> 8}.{port & 255}"
    if not (_NETNS / name).exists():
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", hub, "link", "add", f"v{port}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("-n", hub, "link", "set", f"v{port}", "master", "br0", "up")
        _ip("-n", name, "addr", "add", f"{address}/16", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
    return _NETNS / name, address


def _port_of(pid: int) -> int:
    """The port of a node, by the command line of its agent."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    config = msgspec.json.decode(Path(words[words.index("--config") + 1]).read_bytes())
    return int(config["port"])


def _ip(*words: str) -> None:
    """Run the program `ip`."""
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=_WITHIN_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"no network namespace can be had: ip {' '.join(words)}: {error}") from None
    if done.returncode:
        raise BenchError(f"no network namespace can be had: ip {' '.join(words)}: {done.stderr.strip()}")
