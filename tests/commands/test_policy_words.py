"""Changes of policy as a person writes them."""

import click
import pytest

from streams.commands.monitor import parse_changes


def test_words_become_numbers_truths_and_names() -> None:
    """Each value is read as what it looks like; the policy on the log decides whether it may be."""
    wish = parse_changes(("brake_hold_ms=120000", "destroy_silent_nodes=false", "strategy=binpack"))

    assert wish == {"brake_hold_ms": 120_000, "destroy_silent_nodes": False, "strategy": "binpack"}


@pytest.mark.parametrize("word", ["brake_hold_ms", "=5"])
def test_a_word_that_is_no_change_is_refused(word: str) -> None:
    """The sentence names the word and shows what is expected."""
    with pytest.raises(click.UsageError, match="expected KEY=VALUE"):
        parse_changes((word,))
