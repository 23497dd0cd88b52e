"""What a bench prints: the arithmetic of a figure, the object, the exit codes."""

from __future__ import annotations

import json

import pytest

from bench.results import (
    COULD_NOT,
    RAN,
    BenchError,
    Machine,
    Result,
    Target,
    encode_result,
    make_figure,
    print_result,
)

_MACHINE = Machine(cores=2, memory_gib=24, python="3.11.7", kafka="4.1.1", load_before=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("over_limit_ms_max", 9.0),
        ("recovered_ms_p50", 3.0),
        ("false_facts_count", 14.0),
        ("resident_mib", 3.0),
    ],
)
def test_figure_is_what_its_name_ends_in(name: str, value: float) -> None:
    """A figure is the largest, the median or the sum of its rounds, as its name says."""
    figure = make_figure(Target(name, 400), [3, 9, 2])

    assert figure.value == value
    assert (figure.rounds, figure.spread, figure.values) == (3, (2.0, 9.0), [3.0, 9.0, 2.0])


def test_median_of_an_even_number_of_rounds() -> None:
    """The median of an even number of rounds lies between the two in the middle."""
    assert make_figure(Target("x_ms_p50", 1), [4, 1, 2, 100]).value == 3.0


def test_figure_without_rounds() -> None:
    """A figure of no rounds is an error that names it, not a zero."""
    with pytest.raises(BenchError, match="x_ms_p50"):
        make_figure(Target("x_ms_p50", 1), [])


@pytest.mark.parametrize(
    ("better", "value", "reached"),
    [("lower", 400, True), ("lower", 401, False), ("higher", 400, True), ("higher", 399, False)],
)
def test_figure_is_reached(better: str, value: float, reached: bool) -> None:
    """A figure that is just as good as it ought to be is reached."""
    target = Target("x_per_s", 400, "1/s", better)  # type: ignore[arg-type]  # parametrized

    assert make_figure(target, [value]).is_reached is reached


def test_object_has_the_agreed_keys() -> None:
    """The object has the keys of the agreed format, and no empty ones."""
    figure = make_figure(Target("node_silence_over_limit_ms_max", 400), [140.0, 212.04])

    printed = json.loads(encode_result(Result("failover", _MACHINE, [figure])))

    assert printed == {
        "bench": "failover",
        "machine": {"cores": 2, "memory_gib": 24, "python": "3.11.7", "kafka": "4.1.1", "load_before": 0.1},
        "figures": [
            {
                "name": "node_silence_over_limit_ms_max",
                "value": 212.0,
                "unit": "ms",
                "reach": 400,
                "better": "lower",
                "rounds": 2,
                "spread": [140.0, 212.0],
                "values": [140.0, 212.0],
            }
        ],
    }


def test_json_is_all_that_stdout_gets(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json one object on one line is all that is printed."""
    code = print_result(Result("x", _MACHINE, [make_figure(Target("a_ms_max", 1), [5])]), as_json=True)

    out, err = capsys.readouterr()
    assert (code, err, out.count("\n")) == (RAN, "", 1)
    assert json.loads(out)["figures"][0]["value"] == 5


def test_void_run_says_why_and_has_no_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that could not offer its load says why instead of giving figures, and fails."""
    code = print_result(Result("x", _MACHINE, void="no load"), as_json=True)

    printed = json.loads(capsys.readouterr().out)
    assert code == COULD_NOT
    assert printed["void"] == "no load"
    assert "figures" not in printed


def test_table_for_people_names_each_figure_and_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json a table names each figure and whether it was reached."""
    figures = [make_figure(Target("a_ms_max", 1), [5]), make_figure(Target("b_ms_max", 9), [5])]

    code = print_result(Result("x", _MACHINE, figures, notes=["[one] note"]), as_json=False)

    lines = capsys.readouterr().out.splitlines()
    assert code == RAN
    assert any("a_ms_max" in line and "short" in line for line in lines)
    assert any("b_ms_max" in line and "ok" in line for line in lines)
    assert "- [one] note" in lines
