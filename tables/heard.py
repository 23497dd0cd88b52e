"""What a watch keeps of a source: its open window, a verdict on it, its newest report and hello. Pure.

None of these can be part of a cycle, so the collector need not go through them: there may be a million.
"""

import msgspec

from sdk.contract.heartbeats import AppEntry, Hello, PoolReport, Report, Unchanged
from sdk.contract.policy import Policy
from tables.bridged import BridgeClock, Bridging
from tables.sameness import Copy, pack_all, unpack


class Session(msgspec.Struct, gc=False, array_like=True):
    """The open window of one source; in a checkpoint without the names of its fields, there may be a million."""

    source: str
    epoch: int
    #: Clock and offset of its last beat, or of where waiting for one began.
    last_ms: int
    last_offset: int
    #: Of a source whose topic a bridge reads.
    bridging: Bridging | None = None
    #: The claim whose hello began the epoch; empty for what says none.
    claim: str = ""

    def limit_ms(self, policy: Policy) -> int:
        """Silence after which it is found: its own limit, while somebody expects it under one, else the policy's."""
        bridging = self.bridging
        own_ms = bridging.limit_ms if bridging is not None and not bridging.is_over else 0
        return own_ms or policy.silence_limit_ms


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A session that a tick closed; true until a beat of its epoch."""

    epoch: int
    from_offset: int
    until_offset: int
    silent_ms: int
    postponed_ms: int
    #: The limit that it is over; 0 in what was saved before there was another than the policy's.
    limit_ms: int = 0


class Reported(msgspec.Struct, gc=False):
    """The newest report of a reporter, with its place and the clock there, and what it said "as before" since.

    The apps of a node are kept packed: decoded ones would be most of what a watch for a million sources holds.
    """

    #: The report, without its apps if they are packed.
    head: Report | PoolReport = msgspec.field(name="report")
    offset: int
    clock_ms: int
    #: Apps in it whose beat was not fresh.
    late: tuple[Copy, ...] = ()
    packed: bytes = b""
    #: Number of apps in it.
    count: int = 0
    #: All apps in it run, and their beats were fresh: only then "as before" means anything.
    rests: bool = False
    #: The newest record that says so, and its offset.
    unchanged: Unchanged | None = None
    unchanged_offset: int = -1

    @property
    def report(self) -> Report | PoolReport:
        """What the reporter says now of its apps, or its nodes; of the machine the newest record speaks."""
        head = self.head
        return head if isinstance(head, PoolReport) else _with_apps(head, self.apps)

    @property
    def apps(self) -> list[AppEntry]:
        """The apps as the report named them; none of a pool's."""
        if self.packed:
            return unpack(self.packed, rests=self.rests)
        return self.head.apps if isinstance(self.head, Report) else []

    @property
    def newest(self) -> Report | PoolReport | Unchanged:
        """The newest record: of the machine's load only it speaks."""
        return self.unchanged or self.head

    @property
    def newest_offset(self) -> int:
        """Where that stands."""
        return self.offset if self.unchanged is None else self.unchanged_offset

    def says_same(self, report: Report | PoolReport, rest: bytes) -> bool:
        """Whether a report at rest, with its apps packed, says what this one said."""
        head = self.head
        return (
            self.rests
            and self.packed == rest
            and head.as_of == report.as_of
            and head.registration == report.registration
        )

    def is_meant_by(self, record: Unchanged) -> bool:
        """Whether "as before" means this report."""
        return self.offset == record.full and self.head.registration == record.registration and self.rests


_NO_APPS: list[AppEntry] = []


def keep(
    report: Report | PoolReport, offset: int, clock_ms: int, late: tuple[Copy, ...], rest: bytes | None
) -> Reported:
    """A report as it is kept; `rest` is what `pack_rest` makes of it."""
    if isinstance(report, PoolReport):
        return Reported(report, offset, clock_ms, late)
    packed = pack_all(report.apps) if rest is None else rest
    count = len(report.apps)
    return Reported(
        _with_apps(report, _NO_APPS), offset, clock_ms, late, packed, count, rests=rest is not None
    )


def _with_apps(it: Report, apps: list[AppEntry]) -> Report:
    return Report(
        it.reporter,
        it.registration,
        it.as_of,
        it.number,
        it.sent_at_ms,
        apps,
        it.load,
        it.memory_mib,
        it.memory_used_mib,
    )


class Greeted(msgspec.Struct, frozen=True, gc=False):
    """The newest hello of a reporter, with its place and the clock there."""

    hello: Hello
    offset: int
    clock_ms: int


class Checkpoint(msgspec.Struct):
    """A `PartitionWatch` as it is saved, together with the offset it belongs to."""

    partition: int
    begin: int
    next_offset: int
    clock_ms: int
    append_ms: int | None
    cut_ms: int
    sessions: list[Session]
    silent: dict[str, Verdict]
    reports: dict[str, Reported]
    hellos: dict[str, Greeted]
    app_beats: list[tuple[str, int, int]]
    bridges: BridgeClock
    unknown: list[str]


def encode_checkpoint(saved: Checkpoint) -> bytes:
    """A checkpoint for the disk, as MessagePack: a third of the time and the bytes of JSON.

    The loop is held while it is made: 125,000 sessions, an eighth of a million, take 7 ms.
    """
    return msgspec.msgpack.encode(saved)


def decode_checkpoint(raw: bytes) -> Checkpoint:
    """A checkpoint from the disk.

    Raises:
        msgspec.MsgspecError: it is damaged, or of a version that wrote it otherwise.
    """
    return msgspec.msgpack.decode(raw, type=Checkpoint)
