"""Stages for ssh providers: hosts over pipes, which need no server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.fake_wire import FakeNetwork, fake_host
from tests.agents.ssh_play import Stage


@pytest.fixture
def network() -> FakeNetwork:
    """Hosts over pipes."""
    return FakeNetwork()


@pytest.fixture
def stage(tmp_path: Path, network: FakeNetwork) -> Iterator[Stage]:
    """A stage with one host."""
    stage = Stage(tmp_path, [fake_host(str(tmp_path / "home"))], network.connect)
    yield stage
    stage.close()


@pytest.fixture
def pair(tmp_path: Path, network: FakeNetwork) -> Iterator[Stage]:
    """A stage with two hosts, of which the first has room for one node and the second for two."""
    hosts = [
        fake_host(str(tmp_path / "one"), nodes_max=1),
        fake_host(str(tmp_path / "two"), host="127.0.0.2", nodes_max=2),
    ]
    stage = Stage(tmp_path, hosts, network.connect)
    yield stage
    stage.close()
