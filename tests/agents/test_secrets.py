"""Secrets: from a file that only its owner reads into the environment of an app."""

import os
from pathlib import Path

import pytest

from agents.driver import StartError
from agents.secrets import SECRET_BYTES_MAX, with_secrets
from sdk.contract.orders import AppOrder

_ORDER = AppOrder("application-a", 1, ["run"], {"LEVEL": "2"}, secrets={"PASSWORD": "db-1"})
_VALUE = "open sesame"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return a secret's file as it must be."""
    path = tmp_path / "db-1"
    path.write_text(f"{_VALUE}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def test_a_secret_becomes_a_variable(secret: Path) -> None:
    """The app gets the value, without the end of the line, beside its own variables."""
    assert with_secrets(_ORDER, secret.parent).env == {"LEVEL": "2", "PASSWORD": _VALUE}
    assert _ORDER.env == {"LEVEL": "2"}


def _check_refused(folder: Path, words: str) -> None:
    with pytest.raises(StartError) as caught:
        with_secrets(_ORDER, folder)
    assert str(caught.value) == words
    assert _VALUE not in str(caught.value)


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    """Whoever reads why an app does not start knows which file to make."""
    _check_refused(tmp_path, "secret db-1 is missing on this machine")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused(secret: Path, mode: int) -> None:
    """What others may read is no secret."""
    secret.chmod(mode)
    _check_refused(secret.parent, "secret db-1 is open to others: it must be ours with mode 0600")


def test_what_is_no_plain_text_file_is_refused(secret: Path) -> None:
    """Links, directories, what is too long and what is not text."""
    secret.rename(secret.with_name("other"))
    secret.symlink_to("other")
    _check_refused(secret.parent, f"secret db-1 cannot be read: {os.strerror(40)}")
    secret.unlink()
    secret.mkdir()
    _check_refused(secret.parent, "secret db-1 is not a plain file")
    secret.rmdir()
    for content, words in (
        (b"x" * (SECRET_BYTES_MAX + 1), f"longer than {SECRET_BYTES_MAX} bytes"),
        (b"\xff", "not text"),
    ):
        secret.write_bytes(content)
        secret.chmod(0o600)
        _check_refused(secret.parent, f"secret db-1 is {words}")
