"""Where the owner and the credentials of a pool come from, and that nothing loads libcloud without need."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.cloud_pool import create_cloud_provider, drawn_owner, is_only_here, read_credential
from agents.machines import CloudError
from agents.spawner import ROOT
from tests.cloud.local import local_pool


def test_owner_is_drawn_once(tmp_path: Path) -> None:
    """The same after a restart, another one in another data directory."""
    config = local_pool(tmp_path / "one")
    assert drawn_owner(config) == drawn_owner(config)
    assert drawn_owner(config) != drawn_owner(local_pool(tmp_path / "two"))


def test_credential_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment first; a file must be ours alone."""
    (tmp_path / "CLOUD_KEY").write_text("from a file\n")
    (tmp_path / "CLOUD_KEY").chmod(0o600)
    assert read_credential("CLOUD_KEY", tmp_path) == "from a file"
    monkeypatch.setenv("CLOUD_KEY", "from the environment")
    assert read_credential("CLOUD_KEY", tmp_path) == "from the environment"
    (tmp_path / "OPEN").write_text("seen by all")
    (tmp_path / "OPEN").chmod(0o644)
    with pytest.raises(CloudError, match="secret OPEN is open to others") as caught:
        read_credential("OPEN", tmp_path)
    assert "seen by all" not in str(caught.value)


def test_provisioner_without_credentials_says_which(tmp_path: Path) -> None:
    """It ends at once, with the name, instead of failing with each machine."""
    with pytest.raises(
        SystemExit, match="no environment variable LOCAL_CLOUD_USER, and secret LOCAL_CLOUD_USER is missing"
    ):
        create_cloud_provider(local_pool(tmp_path))


def test_provisioner_with_too_long_user_data_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known before a machine is wanted."""
    monkeypatch.setenv("LOCAL_CLOUD_USER", "someone")
    monkeypatch.setenv("LOCAL_CLOUD_PASSWORD", "secret")
    with pytest.raises(SystemExit, match="shorten `install`"):
        create_cloud_provider(local_pool(tmp_path, install=["true"] * 4_000))


def test_loopback_kafka_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Machines elsewhere cannot reach it; a tunnel may make it right, so it is not refused."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setenv("LOCAL_CLOUD_USER", "someone")
    monkeypatch.setenv("LOCAL_CLOUD_PASSWORD", "secret")
    config = local_pool(tmp_path)
    create_cloud_provider(config).close()
    assert "find Kafka at a loopback address" in caplog.text
    caplog.clear()
    create_cloud_provider(replace(config, bootstrap="kafka.example.org:9092")).close()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("bootstrap", "expected"),
    [
        ("127.0.0.1:9092", True),
        ("localhost:9092,[::1]:9092", True),
        ("127.0.0.1:9092,10.0.0.4:9092", False),
        ("k:1", False),
    ],
)
def test_loopback_is_known(bootstrap: str, expected: bool) -> None:
    """All addresses count."""
    assert is_only_here(bootstrap) is expected


@pytest.mark.parametrize("module", ["agents.provisioner", "agents.node", "agents.cloud_pool"])
def test_libcloud_is_loaded_only_where_it_is_used(module: str) -> None:
    """An agent's start is measured, and most pools have no cloud."""
    program = f"import sys, {module}; print([it for it in sys.modules if it.startswith('libcloud')])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
