"""Remembers resolved settings, so that a short command need not import pydantic again. Part of the shell.

The key is everything that the result depends on: the settings file, the variables and the code that reads them.
A cache that cannot be read or written only costs a quarter of a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Entries kept; a person has a handful, benches and tests on free ports make many.
_KEPT: Final = 32


def find_settings(environ: Mapping[str, str], config: Path, code: list[Path]) -> bytes | None:
    """Return what was stored for the same file, variables and code."""
    with contextlib.suppress(OSError):
        return _path(environ, config, code).read_bytes()
    return None


def store_settings(resolved: bytes, environ: Mapping[str, str], config: Path, code: list[Path]) -> None:
    """Remember resolved settings and forget the oldest ones."""
    with contextlib.suppress(OSError):
        path = _path(environ, config, code)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        fresh.write_bytes(resolved)
        fresh.replace(path)
        newest_first = sorted(path.parent.iterdir(), key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
        for old in newest_first[_KEPT:]:
            old.unlink(missing_ok=True)


def _path(environ: Mapping[str, str], config: Path, code: list[Path]) -> Path:
    from streams.local.jars import cache_dir

    digest = hashlib.sha256()
    digest.update(config.read_bytes() if config.exists() else b"")
    for name, value in sorted(environ.items()):
        digest.update(f"\0{name}={value}".encode())
    for path in code:
        digest.update(f"\0{path}:{path.stat().st_mtime_ns}".encode())
    return cache_dir() / "settings" / f"{digest.hexdigest()[:32]}.json"
