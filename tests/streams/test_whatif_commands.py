"""`whatif` and `backtest` as people use them, on a night that was recorded."""

from __future__ import annotations

import json
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli import main
from sdk.contract.policy import Policy
from streams.travel.again import Changes
from streams.travel.plots import svg_plot
from streams.travel.recordings import Stretch, replay_file
from streams.travel.silences import Totals
from streams.travel.verdicts import compare_found

NIGHT = Path(__file__).parent.parent / "recordings" / "night.jsonl.zst"


def call(*words: str) -> Result:
    """A command on the night."""
    return CliRunner().invoke(main, list(words))


def test_whatif_prints_both_sides_and_whose_the_recording_is() -> None:
    """Text for people, and all of it as JSON."""
    text = call("whatif", "--file", str(NIGHT), "--set", "silence_limit_ms=6000")
    document = json.loads(
        call("whatif", "--file", str(NIGHT), "--set", "silence_limit_ms=6000", "-o", "json").output
    )

    assert text.exit_code == 0
    assert "with silence_limit_ms = 6000 (was 10000)" in text.output
    assert "false, it beat again" in text.output
    assert "The recording belongs to the old decisions" in text.output
    assert document["columns"][0]["totals"]["false"] == 1
    assert "No difference." in call("whatif", "--file", str(NIGHT)).output


def test_a_log_with_heartbeats_is_a_log_to_other_commands() -> None:
    """They pass over what they do not ask for."""
    assert call("state", "--file", str(NIGHT), "nodes").exit_code == 0


def test_a_sweep_is_a_table_a_plot_and_an_svg(tmp_path: Path) -> None:
    """A row for each value, and a drawing that any program can open."""
    svg = tmp_path / "limits.svg"
    words = [
        "whatif",
        "--file",
        str(NIGHT),
        "--sweep",
        "silence_limit_ms=4000..20000:4000",
        "--svg",
        str(svg),
    ]
    result = call(*words)

    assert result.exit_code == 0, result.output
    rows = [line.split()[0] for line in result.output.splitlines() if line[:1].isdigit()]
    assert {"4000", "8000", "12000", "16000", "20000"} <= set(rows)
    assert "┤" in result.output
    assert ET.fromstring(svg.read_text(encoding="utf-8")).tag.endswith("svg")  # noqa: S314  # our own file


def test_an_svg_has_a_point_for_each_value_of_each_line() -> None:
    """Four lines over three values."""
    drawn = svg_plot("silence_limit_ms", [1, 2, 3], [Totals(), Totals(silences=2, false=2), Totals()])

    assert drawn.count("<circle") == 12


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "silence=3"], "policy.silence is unknown"),
        (["--set", "silence_limit_ms=soon"], "Expected `int`, got `str` - at `$.silence_limit_ms`"),
        (["--set", "silence_limit_ms=3"], "3 is out of range; allowed: 2000 to 3600000"),
        (["--set", "on_node_failure=pray"], "'pray' is unknown; allowed: new-node, spread"),
        (["--set", "silence_limit_ms"], "expected KEY=VALUE"),
        (["--sweep", "silence_limit_ms=4000"], "has not the form KEY=FROM..TO:STEP"),
        (["--sweep", "silence_limit_ms=4000..5000:0"], "has not the form"),
        (["--sweep", "silence_limit_ms=2000..9000:1"], "has 7001 values; allowed: 2 to 50"),
        (["--svg", "x.svg"], "--svg draws a sweep"),
    ],
)
def test_a_bad_wish_is_one_sentence_and_exit_code_2(words: list[str], sentence: str) -> None:
    """It names the key, the value and what is allowed."""
    result = call("whatif", "--file", str(NIGHT), *words)

    assert result.exit_code == 2
    assert sentence in result.output


def test_backtest_fails_and_names_the_first_place_if_more_that_lives_is_restarted(tmp_path: Path) -> None:
    """The gate for a new policy: exit code 1 and the heartbeat at which it is wrong."""
    policy = tmp_path / "policy.toml"
    policy.write_text("[policy]\nsilence_limit_ms = 6000\n", encoding="utf-8")
    quick: Changes = {"silence_limit_ms": 6_000}
    (found,) = replay_file(NIGHT, [quick], Stretch())
    (paused,) = compare_found([found], [quick]).columns[0].new

    result = call("backtest", "--policy", str(policy), "--against", str(NIGHT), str(NIGHT))

    assert result.exit_code == 1
    assert f"first at heartbeat {paused.partition}/{paused.until_offset}" in result.output


def test_backtest_passes_in_one_line_otherwise(tmp_path: Path) -> None:
    """The same rules, and slower ones, restart nothing more."""
    policy = tmp_path / "policy.toml"
    policy.write_text('silence_limit_ms = 12000\non_node_failure = "spread"\n', encoding="utf-8")

    result = call("backtest", "--policy", str(policy), "--against", str(NIGHT))

    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("silence_limit_ms = ", "is not TOML"),
        ("silence_limit = 3", "policy.silence_limit is unknown"),
        ("silence_limit_ms = 1.5", "allowed: a number, a word, true, false"),
        ("[policy]\n[other]\n", "a table [policy] and nothing else"),
    ],
)
def test_a_bad_policy_file_is_one_sentence_and_exit_code_2(text: str, sentence: str, tmp_path: Path) -> None:
    """It names what is wrong."""
    policy = tmp_path / "policy.toml"
    policy.write_text(text, encoding="utf-8")

    result = call("backtest", "--policy", str(policy), "--against", str(NIGHT))

    assert result.exit_code == 2
    assert sentence in result.output


def test_a_policy_printed_as_toml_is_one_that_backtest_reads() -> None:
    """Every value of a policy is written as TOML would."""
    values = msgspec.structs.asdict(Policy())
    text = "\n".join(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in values.items())

    assert tomllib.loads(text) == values
