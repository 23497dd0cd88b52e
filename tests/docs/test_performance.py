"""The page of performance is what its writer makes of the figures that are kept."""

from __future__ import annotations

from bench.report import pages_of, read_results
from bench.reporting.pages import BENCHES
from tests.docs.pages import ROOT, read, section

FIGURES, PAGE = ROOT / "docs" / "figures", ROOT / "docs" / "performance.md"
#: Whose published rules stand there.
OTHERS = ("Docker Swarm", "Nomad", "Kubernetes", "Akka Cluster", "Mesos")


def test_the_page_that_is_kept_is_what_is_made_of_the_figures_that_are_kept() -> None:
    """Nobody edits it by hand, and no figure is left out; no plot is left over either."""
    pages = pages_of(read_results(FIGURES), FIGURES, PAGE)
    for path, words in pages.items():
        assert path.read_text(encoding="utf-8") == words, f"{path}: run `python -m bench.report`"
    assert set(FIGURES.glob("*.svg")) <= pages.keys()


def test_a_bench_has_figures_or_is_named_as_missing() -> None:
    """Whoever reads the page knows what was not measured."""
    head = read("docs/performance.md").partition("\n## ")[0]
    for name in BENCHES:
        assert (FIGURES / f"{name}.json").exists() != (f"`{name}.json`" in head), name


def test_each_rule_of_others_has_a_source() -> None:
    """A row refers to an item of the list of sources, and each item has an address."""
    text = section(read("docs/performance.md"), "## Detection next to the rules of others")
    items = text.partition("Sources:")[2]
    for number, name in enumerate(OTHERS, start=1):
        assert f"| {name} [{number}] |" in text
        item = items.partition(f"\n{number}. ")[2].partition(f"\n{number + 1}. ")[0]
        assert "](https://" in item, name
