"""The page of figures: what is in it, and that it is what is kept makes."""

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from bench.report import main, pages_of, read_results, write_pages
from bench.reporting.plots import columns, plots_of
from bench.results import Machine, Result, Target, encode_result, make_figure

_MACHINE = Machine(2, 24, "3.11.7", "4.1.1", 0.25)
#: A result in form, with a bucket that has no number.
_BAD_HISTOGRAM = encode_result(
    Result("fleet", _MACHINE, [], detail={"over_limit_histogram": {"many": 1.0}})
).encode()


def _result(bench: str, **detail: dict[str, float]) -> Result:
    figures = [
        make_figure(Target("digest_over_limit_ms_p99", 500), [612.5, 400.0]),
        make_figure(Target("vs_faust_ratio", 80, "", "higher"), [95.0]),
    ]
    return Result(bench, _MACHINE, figures, notes=["a | b"], detail=detail)


def test_the_page_says_what_was_reached_and_of_what_there_are_no_figures(tmp_path: Path) -> None:
    """A row for each figure; what no file has is named."""
    (tmp_path / "fleet.json").write_text(encode_result(_result("fleet")))
    (tmp_path / "own.json").write_text(encode_result(Result("own", _MACHINE, void="nobody beat")))
    pages = pages_of(read_results(tmp_path), tmp_path, tmp_path / "page.md")
    page = pages[tmp_path / "page.md"]
    assert "| `digest_over_limit_ms_p99` | 506.2 ms | 500 | **short** | 2 | 400 to 612.5 |" in page
    assert "| `vs_faust_ratio` | 95 | 80 | reached | 1 | 95 to 95 |" in page
    assert "The run is void: nobody beat" in page
    assert "- a / b" in page
    assert "No figures are kept of `fleet-lone.json`" in page


def test_plots_are_made_of_what_there_is() -> None:
    """A histogram of all fleets together, a bar for each of their sizes, and nothing without figures."""
    fleets = {
        "fleet": _result(
            "fleet",
            over_limit_histogram={"0": 2.0, "100": 1.0},
            size={"sources": 1_000_000.0, "lone": 0.0},
            watcher={"cpu_us_per_record": 27.0},
        ),
        "fleet-lone": _result(
            "fleet",
            over_limit_histogram={"100": 3.0},
            size={"sources": 5_000.0, "lone": 5_000.0},
            watcher={"cpu_us_per_record": 6.5},
        ),
    }
    plots = plots_of(fleets)
    assert set(plots) == {"detection-latency.svg", "cost-by-sources.svg", "goals.svg"}
    for drawn in plots.values():
        assert ET.fromstring(drawn).tag.endswith("svg")  # noqa: S314  # our own plot
    assert "highest column: 4" in plots["detection-latency.svg"]
    assert plots["cost-by-sources.svg"].index("5,000 lone sources") < plots["cost-by-sources.svg"].index(
        "1,000,000 sources in reports"
    )
    assert plots_of({}) == {}


def test_the_watcher_alone_gives_a_bar_for_each_of_its_sizes() -> None:
    """What `bench.watcher` read stands in the plot of cost by size, smallest first."""
    costs = {"1000000": 9.5, "1000": 7.25}
    drawn = plots_of({"watcher": _result("watcher", watch_cpu_us_per_record=costs)})["cost-by-sources.svg"]

    assert drawn.index("1,000 lone sources, read at once") < drawn.index(
        "1,000,000 lone sources, read at once"
    )
    assert "7.25 us" in drawn


def test_goals_are_counted_by_bench_and_only_where_something_is_asked() -> None:
    """Two figures with a goal, one of them short; one that is only printed, and a void run, count nowhere."""
    result = _result("fleet")
    printed = make_figure(Target("original_bytes_per_source", 0, "B", "higher"), [1e6])
    more = Result("fleet", _MACHINE, [*(result.figures or []), printed])
    drawn = plots_of({"fleet": more, "own": Result("own", _MACHINE, void="nobody beat")})["goals.svg"]

    assert "1 of 2" in drawn
    assert "own" not in drawn
    # The ground, what is reached and what is short.
    assert drawn.count("<rect") == 3


def test_details_stand_in_a_table_but_not_what_is_drawn(tmp_path: Path) -> None:
    """Each part of the detail is a row."""
    result = _result(
        "fleet", watcher={"lag_ms_p50": 12.0, "resident_mib": 1234.5}, over_limit_histogram={"0": 1.0}
    )
    (tmp_path / "fleet.json").write_text(encode_result(result))
    page = pages_of(read_results(tmp_path), tmp_path, tmp_path / "page.md")[tmp_path / "page.md"]

    assert "| `watcher` | lag_ms_p50 12, resident_mib 1,234.5 |" in page
    assert "over_limit_histogram" not in page


def test_without_figures_there_is_a_page_and_plots_of_before_go(tmp_path: Path) -> None:
    """It says of what nothing is kept, and has the rules of others; a file of somebody else stays."""
    for name in ("goals.svg", "drawing.svg"):
        (tmp_path / name).write_text("<svg/>")
    out = tmp_path / "page.md"
    done = CliRunner().invoke(main, ["--figures", str(tmp_path), "--out", str(out)])

    assert done.exit_code == 0
    assert "## Detection next to the rules of others" in out.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"page.md", "drawing.svg"}


def test_what_cannot_be_written_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """The page cannot be replaced, so no plot is either."""
    (tmp_path / "own.svg").write_text("before")
    with pytest.raises(OSError, match="nowhere"):
        write_pages({tmp_path / "own.svg": "after", tmp_path / "nowhere" / "page.md": "page"})

    assert (tmp_path / "own.svg").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"own.svg"}


def test_what_is_nothing_is_not_drawn() -> None:
    """No plot breaks on figures that are 0: a logarithm of it, or a share of it, says nothing."""
    nothing = Result("peers", _MACHINE, [make_figure(Target("vs_faust_ratio", 0, "", "higher"), [0])])
    silent = Result(
        "fleet", _MACHINE, [], detail={"over_limit_histogram": {"0": 0.0}, "size": {"sources": 5.0}}
    )
    idle = Result("watcher", _MACHINE, [], detail={"watch_cpu_us_per_record": {"1000": 0.0}})
    still = Result("swarm", _MACHINE, [make_figure(Target("node_killed_recovered_ms_p50", 700), [0])])

    plots = plots_of({"peers": nothing, "fleet": silent, "watcher": idle, "swarm": still})

    assert set(plots) == {"goals.svg"}


def test_an_empty_bucket_is_seen() -> None:
    """Every step between the first and the last has its column."""
    assert columns("t", {0: 1.0, 150: 1.0}, "ms", 50).count("<rect") == 1 + 4


@pytest.mark.parametrize("content", [b"{", b'{"figures": []}', b"\xff", _BAD_HISTOGRAM])
def test_what_is_no_result_ends_it_and_nothing_is_written(tmp_path: Path, content: bytes) -> None:
    """One sentence that names the file."""
    (tmp_path / "good.json").write_text(encode_result(_result("fleet")))
    (tmp_path / "bad.json").write_bytes(content)
    out = tmp_path / "page.md"
    done = CliRunner().invoke(main, ["--figures", str(tmp_path), "--out", str(out)])
    assert done.exit_code == 1
    assert "bad.json is not what a bench prints with --json" in done.output
    assert {path.name for path in tmp_path.iterdir()} == {"good.json", "bad.json"}


def test_results_go_there_and_back() -> None:
    """What a bench prints is what the report reads."""
    result = _result("fleet", size={"sources": 1.0})
    assert msgspec.json.decode(encode_result(result), type=Result) == result
