"""A real OpenSSH server of our own on a loopback port, with keys that nobody else uses."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from agents import procfs

#: It is there in 0.3 s.
_START_WITHIN_S = 20.0
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


class NoServerError(RuntimeError):
    """No server can be had; the text says why."""


class SshServer:
    """One server; whoever runs the tests may log in to it with the key `client`."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        """Prepare a server that keeps its files in that folder.

        Raises:
            NoServerError: OpenSSH is not installed, or refuses its configuration.
        """
        self.folder = folder
        self.address = address
        self.user = getpass.getuser()
        with socket.socket() as probe:
            probe.bind((address, 0))
            self.port = int(probe.getsockname()[1])
        sshd, keygen = shutil.which("sshd", path=_PATH), shutil.which("ssh-keygen", path=_PATH)
        if sshd is None or keygen is None:
            raise NoServerError(
                "sshd is not installed; scripts/openssh-server installs it where that can be done"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("host", "client", "other"):
            if not (folder / name).exists():
                subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "authorized_keys").write_bytes((folder / "client.pub").read_bytes())
        self._config = folder / "sshd_config"
        self._config.write_text(self._lines())
        self._sshd = sshd
        if os.geteuid() == 0:
            # Where it confines itself; a service manager would make it.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        checked = subprocess.run(
            [sshd, "-t", "-f", self._config], capture_output=True, text=True, check=False
        )
        if checked.returncode:
            raise NoServerError(f"sshd does not like its configuration: {checked.stderr.strip()}")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host_key(self) -> str:
        """The public key that it shows."""
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    def table(self, folder: Path, **more: object) -> str:
        """A table of a hosts file that names this server, its nodes in that folder."""
        values: dict[str, object] = {
            "host": self.address,
            "port": self.port,
            "user": self.user,
            "key": str(self.folder / "client"),
            "host_key": self.host_key,
            "python": sys.executable,
            "home": str(folder),
            "nodes_max": 10,
            **more,
        }
        lines = [
            f"{key} = {value}" if isinstance(value, int) else f'{key} = "{value}"'
            for key, value in values.items()
        ]
        return "\n".join(["[[hosts]]", *lines, ""])

    def start(self) -> Self:
        """Start it, and return when it takes connections."""
        log = (self.folder / "sshd.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [self._sshd, "-D", "-e", "-f", self._config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline_s = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < deadline_s:
            try:
                socket.create_connection((self.address, self.port), 1).close()
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.02)
            else:
                return self
        raise NoServerError(f"sshd does not start: {(self.folder / 'sshd.log').read_text()[-500:]}")

    def stop(self) -> None:
        """End it and every connection to it; what was started over them lives on."""
        sessions = self.sessions()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for pid in sessions:
            procfs.send_signal(pid, signal.SIGKILL)

    def cut(self) -> list[int]:
        """Kill the processes that serve connections, as when a host loses them; their pids."""
        sessions = self.sessions()
        for pid in sessions:
            procfs.send_signal(pid, signal.SIGKILL)
        return sessions

    def sessions(self) -> list[int]:
        """The processes that serve connections to this server."""
        if self._process is None:
            return []
        return [pid for pid in procfs.descendants_of(self._process.pid) if _name_of(pid).startswith("sshd")]

    def _lines(self) -> str:
        return "\n".join(
            [
                f"ListenAddress {self.address}:{self.port}",
                f"HostKey {self.folder}/host",
                "PidFile none",
                f"AuthorizedKeysFile {self.folder}/authorized_keys",
                "StrictModes no",
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "PermitRootLogin yes",
                "X11Forwarding no",
                "AllowTcpForwarding no",
                "MaxStartups 100",
                "LogLevel INFO",
                "",
            ]
        )


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""
