"""Plain files of service names, one a line: services that are watched and announced, and not run. Shell.

    # what the platform has always had
    scheduler
    sensor_manager  beats.of.sensors      # beats into another topic than the one of its name

A file is right as a whole or refused as a whole, with line and what is allowed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from sdk.contract.ids import check_name
from sdk.contract.topics import check_beats_topic
from streams.commands import USAGE, CommandError
from tables.fold_sources import EXPECTED_MAX
from tables.state import State

#: Largest file that is read: the longest names and topics, as many as may be expected, and as much again of comments.
FILE_BYTES_MAX = 1 << 20
_TABLE = re.compile(r"^\s*\[", re.MULTILINE)


class Name(NamedTuple):
    """One line of a file."""

    line: int
    source: str
    topic: str


class WatchStep(NamedTuple):
    """What is done about one service."""

    action: Literal["watch", "change", "keep"]
    name: Name
    why: str


def is_names_file(path: Path) -> bool:
    """Whether a file is one of names rather than of specs: it is not called `.toml` and has no table.

    Raises:
        CommandError: it cannot be read.
    """
    return path.suffix.lower() != ".toml" and _TABLE.search(_read(path)) is None


def load_names(path: Path) -> list[Name]:
    """The services that the file names.

    Raises:
        CommandError: it cannot be read, or a line is not right; the message says which, and what is allowed.
    """
    return parse_names(_read(path), file=path.name)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise CommandError(f"{path.name} is larger than {FILE_BYTES_MAX} bytes.", USAGE)
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path.name} cannot be read: {error}.", USAGE) from None


def parse_names(text: str, *, file: str) -> list[Name]:
    """The services that the text of a file names.

    Raises:
        CommandError: a line is not right; the message says which, and what is allowed.
    """
    found: dict[str, Name] = {}
    for line, words in enumerate((each.partition("#")[0].split() for each in text.splitlines()), 1):
        if not words:
            continue
        try:
            name = _read_line(line, words)
        except ValueError as error:
            raise CommandError(f"{file}, line {line}: {error}.", USAGE) from None
        if (twice := found.get(name.source)) is not None:
            raise CommandError(
                f"{file}, line {line}: {name.source} stands in line {twice.line} already.", USAGE
            )
        found[name.source] = name
    if not found:
        raise CommandError(f"{file} names no service; write one name a line.", USAGE)
    if len(found) > EXPECTED_MAX:
        raise CommandError(f"{file} names {len(found)} services; allowed: at most {EXPECTED_MAX}.", USAGE)
    return list(found.values())


def _read_line(line: int, words: list[str]) -> Name:
    if len(words) > 2:  # noqa: PLR2004
        raise ValueError(
            f"{len(words)} words; allowed: a name, and a topic if it is not the one of that name"
        )
    name = check_name(words[0].removeprefix("service-"), what="the name")
    return Name(line, f"service-{name}", check_beats_topic(words[-1], what="the topic"))


def plan_names(state: State, names: list[Name], *, file: str) -> list[WatchStep]:
    """What watching these services changes.

    Raises:
        CommandError: one of them is run by the platform.
    """
    steps = []
    for name in names:
        row = state.sources.get(name.source)
        if name.source in state.apps:
            raise CommandError(
                f"{file}, line {name.line}: {name.source} is run by this platform and watched already; "
                f"if it beats into a topic, write `beats` into its spec."
            )
        if row is None or not row.topic:
            why = "it is new" if row is None else "it beats by itself, and nobody asked for it"
            steps.append(WatchStep("watch", name, why))
        elif row.topic != name.topic:
            steps.append(WatchStep("change", name, f"its topic was {row.topic}"))
        else:
            steps.append(WatchStep("keep", name, "it is watched"))
    return steps
