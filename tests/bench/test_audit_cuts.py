"""The proxy that cuts clients off from the broker, before a server that says everything back."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from bench.auditing.cuts import Cuts, Way
from streams.local.ports import find_free_ports

#: A byte that may pass is there within this time, one that may not is not; s.
PASSES_WITHIN_S = 20.0
HELD_FOR_S = 0.3


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def way(echo: int) -> Iterator[tuple[Cuts, int]]:
    """A proxy before that server and its port."""
    (port,) = find_free_ports(1)
    with Cuts(port=port, broker_port=echo, mark="test") as cuts:
        yield cuts, port


def test_bytes_pass_while_nothing_is_cut(way: tuple[Cuts, int]) -> None:
    """The proxy is a way like any other."""
    with socket.create_connection(("127.0.0.1", way[1])) as client:
        client.settimeout(PASSES_WITHIN_S)
        client.sendall(b"one")

        assert client.recv(100) == b"one"


@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_cut_holds_bytes_until_it_is_healed(way: tuple[Cuts, int], direction: Way) -> None:
    """During a cut nothing comes, afterwards everything, on the same connection."""
    cuts, port = way
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(PASSES_WITHIN_S)
        client.sendall(b"one")
        assert client.recv(100) == b"one"

        cuts.cut(os.getpid(), direction)
        client.sendall(b"two")
        client.settimeout(HELD_FOR_S)
        with pytest.raises(TimeoutError):
            client.recv(100)

        cuts.heal(os.getpid())
        client.settimeout(PASSES_WITHIN_S)
        assert client.recv(100) == b"two"


def test_cut_of_another_process_holds_nothing_of_ours(way: tuple[Cuts, int]) -> None:
    """A cut is of one process."""
    cuts, port = way
    cuts.cut(1, "both")

    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(PASSES_WITHIN_S)
        client.sendall(b"one")

        assert client.recv(100) == b"one"
