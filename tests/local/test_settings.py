"""Settings: which source wins, and what an unknown key or a bad value says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streams import settings as settings_module
from streams.settings import (
    RANGES,
    RESOLVED_ENV,
    Settings,
    SettingsError,
    explain_settings,
    load_settings,
    resolved_environment,
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a settings file that only this test has."""
    path = tmp_path / "watchkeep.toml"
    monkeypatch.setenv("WATCHKEEP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WATCHKEEP_CONFIG", str(path))
    return path


def test_defaults_hold_when_nothing_is_set(config: Path) -> None:
    """Without file, environment and flags every setting has its default."""
    assert load_settings() == Settings()


def test_flag_beats_environment_beats_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later sources win: file, then environment, then flag."""
    config.write_text("workers = 3\nnodes = 4\nslots = 5\n", encoding="utf-8")
    monkeypatch.setenv("WATCHKEEP_NODES", "6")
    monkeypatch.setenv("WATCHKEEP_SLOTS", "7")

    settings = load_settings(slots=8)

    assert (settings.workers, settings.nodes, settings.slots) == (3, 6, 8)


def test_explain_names_the_source_of_each_value(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`config show` says file, variable, flag, default or derived."""
    config.write_text("workers = 3\n", encoding="utf-8")
    monkeypatch.setenv("WATCHKEEP_NODES", "6")

    sources = {row.key: row.source for row in explain_settings(slots=8)}

    assert sources["workers"] == "watchkeep.toml"
    assert sources["nodes"] == "WATCHKEEP_NODES"
    assert sources["slots"] == "--slots"
    assert sources["prefix"] == "default"
    assert sources["session_timeout_ms"] == "derived"


def test_policy_seeds_of_all_sources_are_merged(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds come from the `[policy]` table and from WATCHKEEP_POLICY__KEY, with their TOML types."""
    config.write_text("[policy]\noverdue_ms = 4000\nstrategy = 'binpack'\n", encoding="utf-8")
    monkeypatch.setenv("WATCHKEEP_POLICY__OVERDUE_MS", "3000")
    monkeypatch.setenv("WATCHKEEP_POLICY__DESTROY_SILENT_NODES", "false")

    assert load_settings().policy == {
        "overdue_ms": 3000,
        "strategy": "binpack",
        "destroy_silent_nodes": False,
    }


def test_bootstrap_variable_of_kafka_tools_counts(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KAFKA_BOOTSTRAP_SERVERS means: no broker of our own, and the longer group timeouts."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "elsewhere:9092")

    settings = load_settings()

    assert settings.bootstrap == "elsewhere:9092"
    assert not settings.own_broker
    assert (settings.faust_session_timeout_s, settings.faust_heartbeat_s) == (6.0, 1.0)


def test_own_broker_allows_short_group_timeouts(config: Path) -> None:
    """On our own broker a worker is given up after 3 s."""
    settings = load_settings()

    assert (settings.faust_session_timeout_s, settings.faust_heartbeat_s) == (3.0, 0.75)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("WATCHKEEP_KAFKA_PROT", "1", ["WATCHKEEP_KAFKA_PROT", "kafka_port"]),
        ("WATCHKEEP_KAFKA_PORT", "x", ["WATCHKEEP_KAFKA_PORT", "kafka_port", "1 to 65535"]),
        ("WATCHKEEP_KAFKA_PORT", "0", ["kafka_port", "1 to 65535"]),
        ("WATCHKEEP_WEB", "maybe", ["WATCHKEEP_WEB", "true, false"]),
        ("WATCHKEEP_LOG_LEVEL", "loud", ["log_level", "debug, info, warning, error"]),
        ("WATCHKEEP_KAFKA_VERSION", "5", ["kafka_version", "4.1.1, 3.9.1"]),
        ("WATCHKEEP_POLICY__NONSENSE", "5", ["WATCHKEEP_POLICY__NONSENSE", "nonsense"]),
        ("WATCHKEEP_POLICY__OVERDUE_MS", "soon", ["WATCHKEEP_POLICY__OVERDUE_MS", "overdue_ms"]),
        ("WATCHKEEP_POLICY__OVERDUE_MS", "20000", ["overdue_ms", "20000"]),
    ],
)
def test_bad_variable_is_named_with_what_is_allowed(
    config: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: list[str]
) -> None:
    """The error names the variable, the key and what is allowed."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as error:
        load_settings()

    assert [part for part in told if part not in error.value.message] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wrokers = 3\n", ["watchkeep.toml", "wrokers", "workers"]),
        ("workers = 0\n", ["watchkeep.toml", "workers", "1 to 64"]),
        ("workers = \n", ["watchkeep.toml", "TOML"]),
        ("policy = 3\n", ["watchkeep.toml", "policy", "table"]),
        ("[policy]\nnonsense = 3\n", ["watchkeep.toml", "nonsense"]),
    ],
)
def test_bad_file_is_named_with_what_is_allowed(config: Path, text: str, told: list[str]) -> None:
    """The error names the file, the key and what is allowed."""
    config.write_text(text, encoding="utf-8")

    with pytest.raises(SettingsError) as error:
        load_settings()

    assert [part for part in told if part not in error.value.message] == []


def test_unknown_flag_is_refused(config: Path) -> None:
    """A flag that is no setting is an error too."""
    with pytest.raises(SettingsError, match="workres"):
        load_settings(workres=3)


def test_equal_ports_are_refused(config: Path) -> None:
    """Broker and controller cannot share a port."""
    with pytest.raises(SettingsError, match="must differ"):
        load_settings(kafka_port=9500, kafka_controller_port=9500)


def test_children_get_exactly_the_resolved_settings(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `up` hands to a child is what the child loads, whatever else its environment says."""
    config.write_text("workers = 3\n[policy]\noverdue_ms = 4000\n", encoding="utf-8")
    settings = load_settings(prefix="other")
    monkeypatch.setenv("WATCHKEEP_NODES", "9")
    monkeypatch.setenv(RESOLVED_ENV, resolved_environment(settings)[RESOLVED_ENV])

    assert load_settings() == settings


def test_settings_are_remembered_until_something_changes(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file and variables need no second look; another file content does."""
    config.write_text("workers = 3\n", encoding="utf-8")
    first = load_settings()
    monkeypatch.setattr(settings_module, "_resolve", lambda _: Settings(workers=9))

    again = load_settings()
    config.write_text("workers = 4\n", encoding="utf-8")
    changed = load_settings()

    assert (first.workers, again.workers, changed.workers) == (3, 3, 9)


def test_every_number_has_a_range() -> None:
    """A setting that is a number says what is allowed, and its default is."""
    defaults = msgspec.structs.asdict(Settings())
    numbers = {key for key, value in defaults.items() if type(value) is int}

    assert numbers <= RANGES.keys()
    assert [key for key in numbers if not RANGES[key][0] <= defaults[key] <= RANGES[key][1]] == []
