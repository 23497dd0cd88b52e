"""What an audit prints: figures, or why it is void."""

from __future__ import annotations

from pathlib import Path

from bench.audit import make_result
from bench.auditing.offered import Offered
from bench.auditing.run import Audited
from bench.results import Machine
from tests.simulation.log_rules import Finding

_MACHINE = Machine(cores=2, memory_gib=24, python="3.11.7", kafka="4.1.1", load_before=0.1)


def audited(findings: list[Finding], offered: Offered) -> Audited:
    """A run of two faults."""
    return Audited(
        findings=findings,
        struck={"kill app": 2},
        offered=offered,
        stalls=0,
        healed_s=3.21,
        events=10,
        records=20,
        notes=[],
    )


def test_figures_are_violations_faults_and_the_share_of_load() -> None:
    """A violation is counted and told with the place where everything is kept."""
    found = [Finding("invariants", "offset 7: broken")]

    result = make_result(audited(found, Offered(1.0, 0.876, 1.0)), _MACHINE, Path("kept"))

    assert result.figures is not None
    assert {it.name: (it.value, it.is_reached) for it in result.figures} == {
        "violations_count": (1, False),
        "faults_count": (2, True),
        "load_offered_ratio": (0.876, True),
    }
    assert result.detail["faults"] == {"kill app": 2}
    assert result.notes[0] == "violation: invariants: offset 7: broken"
    assert "kept" in result.notes[1]


def test_run_that_offered_too_little_is_void() -> None:
    """Below four fifths of the planned load there are no figures, only what was found."""
    result = make_result(audited([], Offered(1.0, 1.0, 0.79)), _MACHINE, Path("kept"))

    assert result.figures is None
    assert "79%" in result.void
