"""A pool for each test of a cloud's provider."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.pool import Pool


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """A pool; its machines end with the test."""
    pool = Pool(tmp_path)
    yield pool
    pool.cloud.close()
