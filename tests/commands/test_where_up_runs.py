"""Commands find the platform of the `up` that runs on their data directory."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.commands.shared import where_up_runs
from streams.local.rundir import acquire_lock
from streams.settings import Settings


def _folder(tmp_path: Path) -> Path:
    (tmp_path / "provisioner.json").write_text(
        json.dumps({"bootstrap": "127.0.0.1:19092", "prefix": "other", "pool": "local"})
    )
    return tmp_path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """A data directory on which an `up` runs."""
    folder = _folder(tmp_path)
    lock = acquire_lock(folder)
    yield folder
    os.close(lock)


def test_flags_of_up_reach_the_command_in_another_terminal(running: Path) -> None:
    """Kafka's address and the prefix are those of the platform that runs there."""
    settings = where_up_runs(Settings(data_dir=str(running)))

    assert (settings.bootstrap, settings.prefix) == ("127.0.0.1:19092", "other")


def test_what_file_or_environment_say_comes_first(running: Path) -> None:
    """Who names a Kafka gets that Kafka."""
    settings = where_up_runs(Settings(data_dir=str(running), bootstrap_servers="kafka-1:9092"))

    assert (settings.bootstrap, settings.prefix) == ("kafka-1:9092", "watchkeep")


def test_an_up_that_ended_counts_no_more(tmp_path: Path) -> None:
    """Without a running `up` the settings are what they are."""
    settings = where_up_runs(Settings(data_dir=str(_folder(tmp_path))))

    assert settings.bootstrap == "127.0.0.1:9092"
