"""Whether a load really was one."""

from __future__ import annotations

import pytest

from bench.load import busy_share


@pytest.mark.parametrize(
    ("after", "share"), [((100.0, 1_400.0), 1.0), ((300.0, 1_400.0), 0.5), ((100.0, 1_000.0), 0.0)]
)
def test_busy_share_is_what_was_not_idle(after: tuple[float, float], share: float) -> None:
    """Time that passed and was not idle was busy; where none passed nothing was."""
    assert busy_share((100.0, 1_000.0), after) == share
