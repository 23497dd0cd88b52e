"""Plain files of service names: what they mean, and how a wrong one is refused."""

from pathlib import Path

import pytest

from sdk.contract.specs import AppSpec
from streams.commands import CommandError
from streams.names_files import FILE_BYTES_MAX, Name, is_names_file, load_names, parse_names, plan_names
from tables.rows import AppRow, SourceRow
from tables.state import State

_FILE = "# ours\nscheduler\n\nsensor_manager  beats.of.sensors   # another topic\n  service-deployer\n"


def _state(*rows: SourceRow) -> State:
    state = State()
    for row in rows:
        state.put("sources", row.source, row)
    return state


def test_a_line_is_a_name_and_perhaps_a_topic() -> None:
    """Comments, blank lines and blanks around do not count; the topic is the word as it stands there."""
    assert parse_names(_FILE, file="service names.txt") == [
        Name(2, "service-scheduler", "scheduler"),
        Name(4, "service-sensor_manager", "beats.of.sensors"),
        Name(5, "service-deployer", "service-deployer"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scheduler\na b c\n", "names.txt, line 2: 3 words; allowed: a name, and a topic"),
        ("sched/uler\n", "names.txt, line 1: the name 'sched/uler' is not a name:"),
        ("scheduler a/b\n", "names.txt, line 1: the topic: 'a/b' is no name of a topic; allowed: 1 to 249"),
        (
            "x watchkeep.events.v1\n",
            "line 1: the topic: watchkeep.events.v1 is a topic of the platform itself",
        ),
        ("a\nb\na x\n", "names.txt, line 3: service-a stands in line 1 already."),
        ("# nothing\n", "names.txt names no service; write one name a line."),
        ("".join(f"a{number}\n" for number in range(1_001)), "names 1001 services; allowed: at most 1000."),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, words: str) -> None:
    """One sentence leads to the place, and says what would be right."""
    with pytest.raises(CommandError) as caught:
        parse_names(text, file="names.txt")
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("name", "text", "is_names"),
    [
        ("service names.txt", "scheduler\n", True),
        ("names", "scheduler # [not a table]\n", True),
        ("services.toml", "scheduler\n", False),
        ("services.txt", '[[app]]\nname = "a"\n', False),
    ],
)
def test_a_file_of_specs_is_told_apart(tmp_path: Path, name: str, text: str, *, is_names: bool) -> None:
    """By its name, or by a table in it."""
    path = tmp_path / name
    path.write_text(text)
    assert is_names_file(path) is is_names


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Not there, no text, or far too large."""
    path = tmp_path / "names.txt"
    with pytest.raises(CommandError, match=r"names\.txt cannot be read"):
        load_names(path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CommandError, match=r"names\.txt cannot be read"):
        load_names(path)
    path.write_bytes(b"a" * (FILE_BYTES_MAX + 1))
    with pytest.raises(CommandError, match="is larger than"):
        load_names(path)


def test_the_plan_says_what_is_new_and_what_changes() -> None:
    """What is watched already stays as it is; what only beat by itself is asked for now."""
    state = _state(
        SourceRow("service-deployer", "lone", 0, 5, 0, topic="service-deployer", expectation=3),
        SourceRow("service-sensor_manager", "lone", 0, 5, 0, topic="sensor_manager", expectation=4),
    )
    steps = plan_names(state, parse_names(_FILE, file="names.txt"), file="names.txt")

    assert [(step.action, step.name.source, step.why) for step in steps] == [
        ("watch", "service-scheduler", "it is new"),
        ("change", "service-sensor_manager", "its topic was sensor_manager"),
        ("keep", "service-deployer", "it is watched"),
    ]


def test_one_that_the_platform_runs_is_refused() -> None:
    """It is watched as what it is; the sentence says what to do instead."""
    state = State()
    spec = AppSpec("service-scheduler", ["python3"])
    state.put("apps", spec.app, AppRow(spec.app, spec, wanted=True, phase="pending", since_ms=0))

    with pytest.raises(CommandError, match=r"line 2: service-scheduler is run by this platform.*`beats`"):
        plan_names(state, parse_names(_FILE, file="names.txt"), file="names.txt")
