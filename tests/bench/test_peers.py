"""What is made of the marks of a job, and of the rounds of the comparison with peers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bench.peers import places
from bench.peers.__main__ import main
from bench.peers.beats import beat_value
from bench.peers.figures import FEW, MANY, Rounds, Sample, make_detail, make_figures, make_notes
from bench.peers.runs import Job, Mark, Span, run, span
from bench.results import BenchError
from sdk.contract.codec import encode_heartbeat
from sdk.contract.heartbeats import Beat


def sample(
    *, records: int = 1_000, cpu_s: float = 1.0, wall_s: float = 1.0, grown_mib: float = 0.0
) -> Sample:
    """A job that needed so much."""
    return Sample(records, Span(wall_s, cpu_s, cpu_s, 100.0, grown_mib, records))


def figures_of(rounds: Rounds) -> dict[str, float]:
    """Values by name."""
    return {it.name: it.value for it in make_figures(rounds, original_services=40)}


@given(st.integers(0, 10**9), st.integers(0, 2**53), st.integers(0, 10**6))
def test_beat_is_what_a_client_writes(number: int, sent_at_ms: int, source: int) -> None:
    """The bytes in the topic are those of the product's own codec."""
    name = f"service-{source}"
    wanted = encode_heartbeat(Beat(name, 0, number, sent_at_ms))

    assert beat_value(name.encode(), number, sent_at_ms) == wanted


def test_cost_is_taken_per_record() -> None:
    """A peer that read a tenth of the records in the same time costs ten times as much."""
    rounds = [{"ours_300k": sample(records=1_000), "faust": sample(records=100)}]

    assert figures_of(rounds) == {"vs_faust_ratio": 10.0}


def test_restore_is_taken_per_second_of_the_wall() -> None:
    """We are twice as quick if a peer needs twice the time for the same rows."""
    rounds = [{"restore_ours": sample(wall_s=2.0), "restore_quix": sample(wall_s=4.0)}]

    assert figures_of(rounds) == {"restore_vs_quix_ratio": 2.0}


def test_ratio_is_the_median_of_those_of_each_round() -> None:
    """Both sides of a ratio come from one round, and a round that lacks a side counts for nothing."""
    rounds: Rounds = [
        {"ours_1k": sample(cpu_s=ours_s), "bytewax": sample(cpu_s=peer_s)}
        for ours_s, peer_s in ((1.0, 2.0), (10.0, 30.0), (1.0, 9.0))
    ]
    rounds.append({"bytewax": sample()})

    [figure] = make_figures(rounds, original_services=40)

    assert (figure.value, figure.values, figure.reach) == (3.0, [2.0, 3.0, 9.0], 6)
    assert not figure.is_reached


def test_original_costs_what_its_services_add() -> None:
    """Its memory is divided among the services that came between the two marks."""
    assert figures_of([{"original": sample(grown_mib=40.0)}]) == {"original_bytes_per_source": 1 << 20}


def test_our_bytes_per_source_stand_beside_it() -> None:
    """Ours is the slope from few sources to many."""
    rounds = [{"ours_1k": sample(grown_mib=1.0), "ours_300k": sample(grown_mib=2.0)}]

    assert make_detail(rounds)["bytes_per_source"]["ours"] == round((1 << 20) / (MANY - FEW), 1)


def test_peer_that_could_not_be_had_is_named() -> None:
    """Its figures are missing and a note says why."""
    notes = make_notes({"Faust": "1"}, {"faust": 10}, {"Bytewax": "it is not there."})

    assert "Bytewax is left out: it is not there." in notes


def mark(word: str, at_s: float) -> Mark:
    """A line of a job that costs 2 s of CPU time a second."""
    return Mark(word.split(), at_s, 2 * at_s, 10 * at_s)


def test_span_is_from_the_last_beginning_to_the_end() -> None:
    """A job that began anew is measured from there, and its commit counts apart."""
    marks = [
        mark("first", 1.0),
        mark("first", 3.0),
        mark("last 7", 4.0),
        mark("first", 5.0),
        mark("kept", 6.0),
    ]

    taken = span(marks)

    assert (taken.wall_s, taken.cpu_s, taken.kept_cpu_s, taken.rows) == (1.0, 2.0, 6.0, 7)
    assert (taken.resident_mib, taken.grown_mib) == (40.0, 10.0)


def test_span_without_an_end_is_an_error() -> None:
    """Nothing is made up of half a run."""
    with pytest.raises(BenchError, match="last"):
        span([mark("first", 1.0)])


def test_run_measures_between_the_marks() -> None:
    """What a process does before its first mark is not counted, what it does between is."""
    busy = (
        "import time\n"
        "def burn(s):\n"
        "    end = time.process_time() + s\n"
        "    while time.process_time() < end: pass\n"
        "burn(0.5); print('first', flush=True); burn(0.2); print('last 3', flush=True); time.sleep(99)"
    )

    taken = run(Job("busy", [sys.executable, "-c", busy]), within_s=60)

    assert 0.1 < taken.cpu_s < 0.4
    assert taken.rows == 3


def test_run_of_a_job_that_breaks_says_its_last_words() -> None:
    """The error names the job and what it said."""
    job = Job("broken", [sys.executable, "-c", "raise SystemExit('no topic')"])

    with pytest.raises(BenchError, match=r"broken ended before it said 'last'.*no topic"):
        run(job, within_s=60)


def test_without_setup_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started; one sentence names what to run."""
    monkeypatch.setenv("WATCHKEEP_PEERS", str(tmp_path))

    result = CliRunner().invoke(main, ["--json"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "run bench/peers/setup first" in result.stderr


def test_versions_are_those_that_are_installed() -> None:
    """Every peer has a pinned version."""
    assert all(places.version(peer)[0].isdigit() for peer in places.PEERS)
