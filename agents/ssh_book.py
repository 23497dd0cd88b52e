"""What the ssh provider writes down: which order went to which host. Shell of the agents.

What the nodes are (port, process, state) stands in the books of the hosts; here is what must be known while a host is
away.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from agents.disk import read_record, write_atomic
from agents.state import Found

Status = Literal["alive", "dead", "parked"]


class Entry(msgspec.Struct):
    """An order and where it went."""

    order: int
    host: str
    #: Empty until the host has said it.
    node: str = ""
    pid: int = 0
    #: `making`: the host was asked and has not answered. `condemned`: to be destroyed, and not known to be gone.
    state: Literal["making", "made", "parked", "condemned", "ended"] = "making"


class Book(msgspec.Struct):
    """What is kept on disk."""

    #: Drawn once: the name of our folder on every host, so that two platforms may share one.
    folder: str = ""
    nodes: list[Entry] = []


class SshBook:
    """The book, as it is on disk."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        book = read_record(path, Book, Book())
        self.folder = book.folder or f"{name}-{os.urandom(6).hex()}"
        self.entries = {entry.order: entry for entry in book.nodes}

    def write(self) -> None:
        """Bring it to disk."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, msgspec.json.encode(Book(self.folder, list(self.entries.values()))))

    def count_nodes(self, hosts: Iterable[str]) -> dict[str, int]:
        """Nodes of each host, those that may live included."""
        counts = dict.fromkeys(hosts, 0)
        for entry in self.entries.values():
            if entry.state != "ended" and entry.host in counts:
                counts[entry.host] += 1
        return counts


def adopt_seen(entry: Entry, there: Found | None) -> Status | None:
    """Status of a node whose host has spoken, noted in the entry; None if the order may still be carried out."""
    if there is None:
        if entry.state == "making":
            return None
        entry.state = "ended"
        return "dead"
    entry.node, entry.pid = there.name, there.pid
    if there.status == "alive" and entry.state != "ended":
        entry.state = "condemned" if entry.state == "condemned" else "made"
        return "alive"
    if there.status == "parked":
        if entry.state in ("condemned", "ended"):
            return "dead"
        entry.state = "parked"
        return "parked"
    entry.state = "ended"
    return "dead"


def adopt_unseen(entry: Entry) -> Status | None:
    """Status of a node whose host is away: the book says what was, and nobody has said that it is over."""
    match entry.state:
        case "making":
            return None
        case "made" | "condemned":
            return "alive"
        case "parked":
            return "parked"
        case _:
            return "dead"
