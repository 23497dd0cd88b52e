"""The files that an order brings, in a directory made for one copy. Shell of the agents."""

import shutil
from collections.abc import Mapping
from pathlib import Path


def write_files(directory: Path, files: Mapping[str, str]) -> None:
    """Make `directory` anew with these files and nothing that an earlier copy left."""
    shutil.rmtree(directory, ignore_errors=True)
    for path, content in files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")


def remove_files(directory: Path) -> None:
    """Remove it with all that is in it."""
    shutil.rmtree(directory, ignore_errors=True)
