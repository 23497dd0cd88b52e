"""Pages that list what the code has list all of it, and nothing else."""

from __future__ import annotations

import typing

import msgspec
import pytest

import streams.commands as codes
from agents.inputs import Instruction
from sdk.contract import policy
from sdk.contract.events import EVENT_TYPES, Band, Decision, PlannerStarted
from sdk.contract.heartbeats import AppStatus
from sdk.contract.policy import Policy
from sdk.contract.requests import REQUEST_TYPES
from sdk.contract.topics import topic_specs
from streams.settings import NOT_SETTINGS, RANGES, Settings
from streams.spec_files import KEYS
from tables.rows import AppPhase, NodeState
from tests.docs.pages import quoted, read, section

DECISIONS = {*typing.get_args(Decision), PlannerStarted}
#: Fields that every decision has; the page says them once.
COMMON = {"term", "based_on", "policy", "fence", "wake_ms"}


def rows_of(text: str) -> dict[str, list[str]]:
    """The cells of a table by the word in backticks that a row begins with."""
    lines = (line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `"))
    return {cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]] for cells in lines}


def item(text: str, name: str) -> str:
    """The rest of the list item that begins with `name`."""
    return next(line for line in text.splitlines() if line.startswith(f"- {name}: ")).partition(": ")[2]


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_event_is_described(name: str) -> None:
    """Each event has its section, with the subject and the fields that the code has."""
    kind, subject = EVENT_TYPES[name]
    text = section(read("docs/events.md"), f"### {kind.__name__}")
    fields = {field.name for field in msgspec.structs.fields(kind)}

    assert item(text, "Type") == f"`{name}`"
    assert quoted(item(text, "Subject")) == {subject or "platform"}
    assert quoted(item(text, "Fields")) == (fields - COMMON if kind in typing.get_args(Decision) else fields)
    for part in ("Written by", "Valid if", "Then"):
        assert item(text, part)


def test_event_stands_under_its_kind() -> None:
    """Facts, admitted requests and decisions stand apart, in the code's order, and nothing else does."""
    text = read("docs/events.md")
    order = [line[4:] for line in text.splitlines() if line.startswith("### ")]
    decisions = {line[4:] for line in section(text, "## Decisions").splitlines() if line.startswith("### ")}

    assert order == [kind.__name__ for kind, _ in EVENT_TYPES.values()]
    assert decisions == {kind.__name__ for kind in DECISIONS}


def test_common_fields_of_decisions_are_named() -> None:
    """The fields that are said once are those that every decision has, and they are said."""
    shared = [{field.name for field in msgspec.structs.fields(kind)} for kind in typing.get_args(Decision)]

    assert set.intersection(*shared) == COMMON
    assert quoted(read("docs/events.md").partition("## Facts")[0]) >= COMMON


def test_names_are_in_the_nomenclature() -> None:
    """Each event, request and instruction of the code is in the nomenclature, under its heading and no other."""
    text = read("docs/nomenclature.md")
    requests = rows_of(section(text, "## Admitted requests"))
    admitted = {name.strip("`") for cells in requests.values() for name in cells} | {"RequestRefused"}
    facts, decisions = quoted(section(text, "## Facts")), quoted(section(text, "## Decisions"))

    assert requests.keys() == {kind.__name__ for kind in REQUEST_TYPES.values()}
    assert decisions == {kind.__name__ for kind in DECISIONS}
    assert facts | admitted | decisions == {kind.__name__ for kind, _ in EVENT_TYPES.values()}
    assert quoted(section(text, "## Instructions")) == {
        kind.__name__ for kind in typing.get_args(Instruction)
    }


def test_statuses_are_in_the_nomenclature() -> None:
    """Each status word of the contract and of the rows is in the nomenclature."""
    words = quoted(section(read("docs/nomenclature.md"), "## Statuses"))

    for kind in (NodeState, AppPhase, AppStatus, Band):
        assert set(typing.get_args(kind)) <= words, kind


def test_settings_are_described() -> None:
    """Each setting is described with its default, and no other is."""
    text = section(read("docs/operations.md"), "## Settings").partition("\n### ")[0]
    rows = rows_of(text)

    assert list(rows) == list(Settings.__struct_fields__)
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.default, int | str) and field.name in rows:
            shown = rows[field.name][0].strip("`")
            assert shown == str(field.default).lower(), field.name
    assert quoted(text) & NOT_SETTINGS == {"WATCHKEEP_CONFIG", "WATCHKEEP_CACHE_DIR", "WATCHKEEP_PYTHON"}
    assert RANGES.keys() <= rows.keys()


def test_policy_is_described() -> None:
    """Each key of the policy is described with its default and its range."""
    rows = rows_of(section(read("docs/operations.md"), "### Policy"))
    fields = {field.name: field.default for field in msgspec.structs.fields(Policy)}

    assert list(rows) == list(fields)
    for key, default in fields.items():
        assert rows[key][0] == str(default).lower()
        low, high = policy._RANGES.get(key, (None, None))
        assert low is None or rows[key][1].startswith(f"{low} to {high}"), key
    for key, words in policy.WORDS.items():
        assert rows[key][1] == ", ".join(words)


def test_keys_of_spec_files_are_described() -> None:
    """Each key of a table in a file of specs is described, and no other is."""
    rows = rows_of(section(read("docs/operations.md"), "## Specs in files"))

    assert sorted(rows) == KEYS


def test_topics_are_listed() -> None:
    """Each topic stands in the architecture with its partitions, and no other does."""
    rows = rows_of(section(read("docs/architecture.md"), "## 4. Topics"))
    specs = {spec.name: spec.partitions for spec in topic_specs("watchkeep")}
    own = {name: count for name, count in specs.items() if not name.endswith("-changelog")}

    assert {name: int(cells[0]) for name, cells in rows.items()} == own | {"watchkeep-<table>-changelog": 1}


def test_exit_codes_are_described() -> None:
    """Each exit code of the command line is in the page for operators."""
    text = section(read("docs/operations.md"), "## Exit codes")
    shown = {line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")}
    names = ("OK", "FAILED", "USAGE", "NOT_FOUND", "UNHEALTHY", "CANNOT_REACH_KAFKA")

    assert {str(getattr(codes, name)) for name in names} <= shown
