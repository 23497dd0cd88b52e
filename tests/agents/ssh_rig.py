"""A whole platform whose nodes are made over ssh, on hosts that are this machine by way of real servers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from agents import procfs
from sdk.contract.heartbeats import Report
from streams.local.rig import Rig
from tests.agents.sshd import SshServer


class SshRig(Rig):
    """A rig with the provider ssh; nothing of its hosts carries the rig's mark, as on other machines."""

    def __init__(self, folder: Path, servers: list[SshServer], **settings: object) -> None:
        """Prepare it; a host's home is a folder of its own."""
        self.hosts_file = folder.resolve() / "hosts.toml"
        pool = {"provider": "ssh", "ssh": {"hosts": str(self.hosts_file)}}
        super().__init__(folder, pools={"local": pool}, **settings)  # type: ignore[arg-type]  # as for a rig
        self.servers = servers
        self.hosts_file.write_text(
            "\n".join(server.table(self.home(server)) for server in servers), encoding="utf-8"
        )
        self.set("pools", {"local": {"provider": "ssh", "ssh": {"hosts": str(self.hosts_file)}}})

    def home(self, server: SshServer) -> Path:
        """Where a host keeps everything."""
        return self.folder / f"home-{server.address}"

    def lives_on(self, server: SshServer) -> list[int]:
        """The caretaker, the agents and the apps of a host."""
        return processes_of(self.home(server))

    def kill_agent(self, node: str) -> None:
        """Kill a node's agent, and return when the next one has reported under a registration of its own.

        Not before: one that is killed between its registration and its reading of it leaves a claim that nobody can
        take up, and the node is replaced when it has been silent long enough.
        """
        registration, pid = self.state().nodes[node].registration, self.agent_pid(node)
        self.kill(pid)
        self.wait(
            lambda _: self._registration_reported(node) > registration,
            what=f"a report of the next agent of {node}",
            within_s=30,
        )
        self.wait(lambda _: self._agent_pid(node) not in (0, pid), what=f"the next pid of {node}")

    def _registration_reported(self, node: str) -> int:
        newest = self.log.newest(node)
        return newest.said.registration if newest is not None and isinstance(newest.said, Report) else 0

    def close(self) -> None:
        """End the platform, and what it left on its hosts, which only a provisioner would end."""
        if not self._is_closed:
            super().close()
            for server in self.servers:
                while left := self.lives_on(server):
                    for pid in left:
                        procfs.send_signal(pid, signal.SIGKILL)


def processes_of(home: Path) -> list[int]:
    """The processes whose environment names a folder of that home."""
    mark = f"{home}/".encode()
    return [
        it.pid
        for it in procfs.list_processes()
        if not it.is_dead and it.pid != os.getpid() and mark in _environment(it.pid)
    ]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
