"""Ports of this machine: whether one is free, who has it, and free ones for tests. Part of the shell."""

from __future__ import annotations

import random
import socket
from typing import Final

from streams.commands import CommandError

#: Ports of nodes: below the range that the kernel gives to clients, this many for each rig.
_PORTS: Final = (10_000, 32_000)
_PORTS_EACH: Final = 100


def is_port_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that are only fading away do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def check_port_free(host: str, port: int, setting: str) -> None:
    """Raise a plain CommandError if the port of that setting is taken.

    Raises:
        CommandError: naming the port, who has it if that can be seen, and what to do.
    """
    if not is_port_free(host, port):
        raise CommandError(
            f"Port {port} is taken{_by_whom(port)}; stop that program or choose another port "
            f"with {setting} (for example WATCHKEEP_{setting.upper()}={port + 1000})."
        )


def find_free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return ports that nobody listens on; they are held together, so they differ."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for one in sockets:
            one.bind((host, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _by_whom(port: int) -> str:
    """Return ` by NAME (pid N)` if this user may know."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                pid = connection.pid
                return f" by {psutil.Process(pid).name()} (pid {pid})" if pid else ""
    except psutil.Error:
        pass
    return ""


def free_port_base() -> int:
    """The begin of a range of ports that looks free; a provisioner passes over the odd one that is taken."""
    first, last = _PORTS
    while True:
        base = random.randrange(first, last, _PORTS_EACH)  # noqa: S311  # so that rigs of two programs rarely meet
        if all(is_port_free("127.0.0.1", base + number) for number in range(8)):
            return base
