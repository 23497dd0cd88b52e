"""The pages hang together: links, citations, decisions, and nothing of the machine they were written on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, pages, read, sources

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|work|tmp|Users|mnt|opt)/\w")
_DECISION = re.compile(r"docs/adr/(\d{4})")
#: Comments write `DESIGN 5`, and `(DESIGN 4, 5)` for two.
_SECTION = re.compile(r"DESIGN (\d+(?:(?:, | and )\d+)*)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    """Every link leads to a file that is there, and to a heading that it has."""
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), f"{page.name}: {target}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_page_names_no_path_of_a_machine(page: Path) -> None:
    """What a page shows can be typed anywhere."""
    found = _MACHINE.findall(page.read_text(encoding="utf-8"))

    assert not found


def test_architecture_has_the_fourteen_sections_in_order() -> None:
    """Comments cite sections by number, so the numbers stay."""
    numbers = re.findall(r"^## (\d+)\. ", read("docs/architecture.md"), flags=re.MULTILINE)

    assert numbers == [str(number) for number in range(1, 15)]


def test_citations_of_comments_resolve() -> None:
    """Each `DESIGN n` in the code is a section of the architecture, each decision cited by number is there."""
    decisions = {path.name[:4] for path in (ROOT / "docs" / "adr").glob("*.md")}
    for source in sources():
        text = source.read_text(encoding="utf-8", errors="replace")
        for cited in _SECTION.findall(text):
            assert all(1 <= int(number) <= 14 for number in re.findall(r"\d+", cited)), source
        for number in _DECISION.findall(text):
            assert number in decisions, f"{source}: decision {number}"


def test_decisions_are_numbered_and_complete() -> None:
    """Each decision has its number, its status and its three parts, and stands in the list."""
    files = sorted((ROOT / "docs" / "adr").glob("*.md"))
    listed = read("docs/architecture.md")

    assert [int(path.name[:4]) for path in files] == list(range(1, len(files) + 1))
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        assert "\nStatus: " in text, path.name
        parts = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences"], path.name
        assert f"(adr/{path.name})" in listed, path.name
