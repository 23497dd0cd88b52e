"""`doctor` says which limits this machine allows."""

from pathlib import Path

from agents.cgroups import explain_cgroups
from streams.local.checks import check_limits
from streams.settings import Settings


def test_doctor_says_what_the_agents_can_keep(tmp_path: Path) -> None:
    """The same that an agent finds, and it is a note if that is rlimits only."""
    found, words = explain_cgroups()
    finding = check_limits(Settings(data_dir=str(tmp_path)))
    assert finding == ("limits", "ok" if found is not None else "note", words)
