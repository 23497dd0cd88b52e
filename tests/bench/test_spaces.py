"""Network namespaces whose cable can be pulled, with real ones; they take root."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.results import BenchError
from bench.returning.spaces import HUB_IP, Hub, make_space

PORT = 20_001
#: Connects to the hub and says everything back, as an agent named by `--config` in its command line.
ECHO = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20) as hub:
    hub.settimeout(None)
    while data := hub.recv(100):
        hub.sendall(data)
"""
HELD_FOR_S = 0.3
PASSES_WITHIN_S = 20.0


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub that this thread is in."""
    home = Path("/proc/thread-self/ns/net").stat().st_ino
    try:
        entered = Hub().__enter__()
    except BenchError as error:
        pytest.skip(str(error))
    try:
        yield entered
    finally:
        entered.__exit__()
    assert Path("/proc/thread-self/ns/net").stat().st_ino == home
    assert not list(Path("/run/netns").glob(f"{entered.name}*"))


def test_a_pulled_cable_holds_everything_and_closes_nothing(hub: Hub, tmp_path: Path) -> None:
    """What is said meanwhile arrives once the cable is in again, over the same connection."""
    config = tmp_path / "agent.json"
    config.write_text(f'{{"port": {PORT}}}')
    space, address = make_space(hub.name, PORT)
    assert make_space(hub.name, PORT) == (space, address)
    with socket.create_server((HUB_IP, 0)) as server:
        server.settimeout(PASSES_WITHIN_S)
        argv = [sys.executable, "-c", ECHO, HUB_IP, str(server.getsockname()[1]), "--config", str(config)]
        node = subprocess.Popen(["nsenter", f"--net={space}", *argv])
        try:
            connection, peer = server.accept()
            with connection:
                assert peer[0] == address
                _passes(connection, b"one")
                hub.cut(node.pid)
                connection.sendall(b"two")
                connection.settimeout(HELD_FOR_S)
                with pytest.raises(TimeoutError):
                    connection.recv(100)
                hub.heal(node.pid)
                connection.settimeout(PASSES_WITHIN_S)
                assert connection.recv(100) == b"two"
                _passes(connection, b"three")
        finally:
            node.kill()
            node.wait()


def _passes(connection: socket.socket, content: bytes) -> None:
    connection.settimeout(PASSES_WITHIN_S)
    connection.sendall(content)
    assert connection.recv(100) == content


def test_without_root_there_is_none_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked can take the proxy then."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(BenchError, match="network namespaces take root"), Hub():
        pass


def test_where_none_can_be_made_nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program `ip` that fails is a sentence with its own words."""
    false = tmp_path / "ip"
    false.write_text("#!/bin/sh\necho not permitted >&2; exit 1\n")
    false.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with (
        pytest.raises(BenchError, match=r"no network namespace can be had: ip netns add .*: not permitted"),
        Hub(),
    ):
        pass
