"""A pytest fixture: write `pytest_plugins = ["sdk.testing.plugin"]` into your `conftest.py`, and take `platform`."""

from collections.abc import Iterator

import pytest

from sdk.testing.platform import Platform


@pytest.fixture
def platform() -> Iterator[Platform]:
    """A platform in memory, a fresh one for each test."""
    with Platform() as platform:
        yield platform
