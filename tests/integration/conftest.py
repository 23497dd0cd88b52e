"""Rigs for the scenarios: platforms on the broker of the test session, closed when their module is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.local.broker import LocalBroker
from streams.local.rig import Rig

CreateRig = Callable[[str], Rig]


@pytest.fixture(scope="module")
def create_rig(kafka: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CreateRig]:
    """Return a function that makes rigs which are closed at the end of the module."""
    rigs: list[Rig] = []

    def create(name: str) -> Rig:
        rigs.append(Rig(tmp_path_factory.mktemp(name), bootstrap=kafka.bootstrap))
        return rigs[-1]

    yield create
    for rig in rigs:
        rig.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder for a rig with a broker of its own."""
    return tmp_path / "rig"
