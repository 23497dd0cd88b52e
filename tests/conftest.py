"""Fixtures that all tests share: a real broker, and an environment in which nobody's settings count."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streams.local.broker import LocalBroker
from streams.local.ports import find_free_ports

if TYPE_CHECKING:
    from tests.agents.sshd import SshServer
    from tests.docker.daemon import Daemon
    from tests.docker.http_daemon import HttpDaemon

# What does not hold is said with its values there too.
pytest.register_assert_rewrite("tests.integration.checks")


@pytest.fixture(autouse=True, scope="session")
def _own_environment() -> None:
    """Remove settings of the person who runs the tests; where jars are kept stays."""
    for name in list(os.environ):
        if name == "KAFKA_BOOTSTRAP_SERVERS" or (
            name.startswith("WATCHKEEP_") and name != "WATCHKEEP_CACHE_DIR"
        ):
            del os.environ[name]
    # A table is cut at the terminal's edge, wherever the tests run.
    os.environ["COLUMNS"] = "120"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """Return a running broker of the whole test session: `.bootstrap`, `.pid`, `.stop()`, `.kill()`, ...

    A test that kills or pauses it starts or resumes it again, or better has one of its own: `create_broker`.
    """
    broker = create_broker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def docker_daemon() -> Iterator[Daemon]:
    """Return a real docker daemon with an image of this machine's Python; skip, and say why, where none can be had."""
    from tests.docker.daemon import NoDaemonError, running_daemon

    with ExitStack() as stack:
        try:
            daemon = stack.enter_context(running_daemon())
        except NoDaemonError as error:
            pytest.skip(f"no docker daemon: {error}")
        yield daemon


@pytest.fixture
def http_daemon() -> Iterator[HttpDaemon]:
    """Return a daemon behind the API of docker whose containers are processes; it needs no docker."""
    from agents.docker_image import IMAGE
    from tests.docker.http_daemon import HttpDaemon

    with HttpDaemon(IMAGE) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """Return a real OpenSSH server on a loopback port; skip, and say why, where none can be had.

    A test that stops it starts it again, or better has one of its own.
    """
    from tests.agents.sshd import NoServerError, SshServer

    try:
        server = SshServer(tmp_path_factory.mktemp("sshd")).start()
    except NoServerError as error:
        pytest.skip(f"no ssh server: {error}")
    yield server
    server.stop()


def create_broker(folder: Path, version: str = "4.1.1") -> LocalBroker:
    """Return a broker on free ports that keeps its data in that folder; it is not started."""
    port, controller_port = find_free_ports(2)
    return LocalBroker(folder, port=port, controller_port=controller_port, version=version)
