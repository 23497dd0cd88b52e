"""What the audit did to whom and when, and which process lived when: the truth that no log can know.

1. Times are wall clock ms of this machine, which its broker stamps records with; lengths come from the monotonic
   clock, so a step of the wall clock would be seen in them.
2. Names are node ids, app ids, worker names, `provisioner`, `broker`, `machine`. A line a happening, as JSON.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

#: The name of everything at once: too little machine.
MACHINE: Final = "machine"
BROKER: Final = "broker"
PROVISIONER: Final = "provisioner"
_FOR_EVER_MS: Final = 1 << 60


class Trouble(msgspec.Struct):
    """One thing done to some names; mutable, because its end is written when it comes."""

    what: str
    names: list[str]
    begin_ms: int
    #: 0 while it lasts; what was killed is over at once.
    end_ms: int = 0
    #: Milliseconds of the monotonic clock between both.
    lasted_ms: int = 0
    #: Whether nothing of these names could be appended meanwhile.
    mute: bool = False
    note: str = ""


class Life(msgspec.Struct):
    """One process of a copy of an app, or of a node's agent."""

    name: str
    #: Generation of an app, 0 of an agent.
    epoch: int
    pid: int
    first_ms: int
    #: Last seen alive.
    last_ms: int
    #: Its command line, if that is no process of ours any more: for a reader of the journal.
    note: str = ""


class Death(msgspec.Struct, frozen=True):
    """A worker or provisioner that ended, whoever ended it."""

    name: str
    at_ms: int
    exit_code: int


class Sent(msgspec.Struct, frozen=True):
    """A request that Kafka acknowledged."""

    request: str
    what: str
    planned_ms: int
    acknowledged_ms: int


class Truth(msgspec.Struct):
    """The whole journal."""

    troubles: list[Trouble] = []
    lives: list[Life] = []
    deaths: list[Death] = []
    sent: list[Sent] = []

    def touched(self, name: str, *, from_ms: int, until_ms: int) -> bool:
        """Whether anything was done to a name within a span."""
        return any(
            name in trouble.names and overlaps(trouble, from_ms=from_ms, until_ms=until_ms)
            for trouble in self.troubles
        )

    def any_touched(self, names: Iterable[str], *, from_ms: int, until_ms: int) -> bool:
        """Whether anything was done to one of the names within a span."""
        return any(self.touched(name, from_ms=from_ms, until_ms=until_ms) for name in names)

    def mute_since_ms(self, name: str, at_ms: int) -> int | None:
        """Since when nothing of a name could be appended, None if it could."""
        return min(
            (
                trouble.begin_ms
                for trouble in self.troubles
                if trouble.mute
                and name in trouble.names
                and trouble.begin_ms <= at_ms <= (trouble.end_ms or _FOR_EVER_MS)
            ),
            default=None,
        )


def overlaps(trouble: Trouble, *, from_ms: int, until_ms: int) -> bool:
    """Whether a trouble lasted at some moment of a span."""
    return trouble.begin_ms <= until_ms and (trouble.end_ms or _FOR_EVER_MS) >= from_ms


def now_ms() -> int:
    """The clock of this machine."""
    return time.time_ns() // 1_000_000


class Journal:
    """The journal while it is written; safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.truth = Truth()
        self._lock = threading.Lock()
        self._begun_s: dict[int, float] = {}
        self._lives: dict[tuple[str, int, int], Life] = {}
        self.ended: dict[str, int] = defaultdict(int)

    def begin(self, what: str, names: Iterable[str], *, mute: bool = False, note: str = "") -> Trouble:
        """Something begins."""
        trouble = Trouble(what, sorted(names), now_ms(), mute=mute, note=note)
        with self._lock:
            self.truth.troubles.append(trouble)
            self._begun_s[id(trouble)] = time.monotonic()
        self._write("begin", trouble)
        return trouble

    def end(self, trouble: Trouble) -> None:
        """It is over."""
        with self._lock:
            trouble.lasted_ms = int((time.monotonic() - self._begun_s.pop(id(trouble))) * 1000)
            trouble.end_ms = now_ms()
        self._write("end", trouble)

    def strike(self, what: str, names: Iterable[str], *, note: str = "") -> None:
        """Something that is over at once."""
        self.end(self.begin(what, names, note=note))

    def stalled(self, at_ms: int, late_ms: int) -> None:
        """The machine did not let a process run that had little to do."""
        trouble = Trouble("stall", [MACHINE], at_ms - late_ms, at_ms, late_ms)
        with self._lock:
            self.truth.troubles.append(trouble)
        self._write("end", trouble)

    def died(self, name: str, exit_code: int) -> None:
        """A kept process ended."""
        death = Death(name, now_ms(), exit_code)
        with self._lock:
            self.truth.deaths.append(death)
        self._write("death", death)

    def acknowledged(self, sent: Sent) -> None:
        """Kafka took a request."""
        with self._lock:
            self.truth.sent.append(sent)
        self._write("sent", sent)

    def alive(self, name: str, epoch: int, pid: int) -> None:
        """A process was seen."""
        at_ms = now_ms()
        with self._lock:
            life = self._lives.get((name, epoch, pid))
            if life is None:
                life = self._lives[name, epoch, pid] = Life(name, epoch, pid, at_ms, at_ms)
                self.truth.lives.append(life)
            life.last_ms = at_ms

    def close(self) -> None:
        """Write the lives, which are known only now."""
        for life in self.truth.lives:
            self._write("life", life)

    def _write(self, kind: str, what: msgspec.Struct) -> None:
        line = msgspec.json.encode({"kind": kind, **msgspec.structs.asdict(what)})
        with self._lock, self.path.open("ab") as file:
            file.write(line + b"\n")


def load_truth(path: Path) -> Truth:
    """The truth in a journal that was closed."""
    truth = Truth()
    for line in path.read_bytes().splitlines():
        match msgspec.json.decode(line)["kind"]:
            case "end":
                truth.troubles.append(msgspec.json.decode(line, type=Trouble))
            case "death":
                truth.deaths.append(msgspec.json.decode(line, type=Death))
            case "sent":
                truth.sent.append(msgspec.json.decode(line, type=Sent))
            case "life":
                truth.lives.append(msgspec.json.decode(line, type=Life))
    return truth
