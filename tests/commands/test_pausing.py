"""`monitor pause` and `monitor resume`: times, subjects and what is shown."""

import re

import pytest
from click.testing import CliRunner

from cli import main
from sdk.contract.events import WatchPaused
from streams.commands import NOT_FOUND, USAGE, CommandError
from streams.commands.pausing import find_subject, parse_duration, pauses_words
from tests.tables.world import begin


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1s", 1_000), ("30s", 30_000), ("30m", 1_800_000), ("2h", 7_200_000), ("7d", 604_800_000)],
)
def test_times_are_read(text: str, ms: int) -> None:
    """A number and a unit."""
    assert parse_duration(text) == ms


@pytest.mark.parametrize(
    "text", ["", "30", "m", "0s", "8d", "-5m", "1h30m", "1.5h", "30 m", "30M", "9999999999s"]
)
def test_another_time_is_refused_with_one_sentence(text: str) -> None:
    """What it is, and what is allowed."""
    result = CliRunner().invoke(main, ["monitor", "pause", "--for", text], prog_name="cli.py")
    assert result.exit_code == USAGE
    last = result.stderr.strip().splitlines()[-1]
    assert last.endswith(f"{text!r} is no time for a pause; write 30s, 30m, 2h or 1d, from 1s to 7d")


def test_a_subject_is_found_with_and_without_its_kind() -> None:
    """A node by its id, an app by either, the platform by nothing or its name; anything else is named."""
    state = begin(apps=1).state
    node = next(iter(state.nodes))
    assert find_subject(state, node) == node
    assert find_subject(state, "0") == find_subject(state, "application-0") == "application-0"
    assert find_subject(state, "") == find_subject(state, "platform") == ""
    with pytest.raises(CommandError, match="There is no node or app pump;") as caught:
        find_subject(state, "pump")
    assert caught.value.exit_code == NOT_FOUND


def test_pauses_are_shown_with_their_end() -> None:
    """Each in force, none after it is over."""
    world = begin(apps=1)
    assert pauses_words(world.state) == ""
    world.append(WatchPaused("request-a", "platform", 60_000))
    world.append(WatchPaused("request-b", "application-0", 30_000))
    words = pauses_words(world.state)
    assert re.fullmatch(r"application-0 until [\d: -]+, the platform until [\d: -]+", words)
    world.run(40_000)
    assert pauses_words(world.state).startswith("the platform until ")
    world.run(40_000)
    assert pauses_words(world.state) == ""
