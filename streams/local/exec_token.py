"""The token of `apps exec`: whoever knows it may run commands beside any app of this platform. Shell."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from streams.settings import Settings

_NAME = "exec-token"
#: As many as a key of 256 bits.
_BYTES = 32


def token_path(settings: Settings) -> Path:
    """Where it is: not among the secrets, which apps may name."""
    return settings.data_path / _NAME


def ensure_exec_token(settings: Settings) -> Path:
    """The file, made now if it is missing, and readable by its owner alone."""
    path = token_path(settings)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    try:
        os.write(fd, f"{secrets.token_hex(_BYTES)}\n".encode())
    finally:
        os.close(fd)
    return path
