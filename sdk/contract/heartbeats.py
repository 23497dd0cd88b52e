"""Beats, reports, hellos and ticks: compact JSON arrays, because there are many. Pure.

The first item of each array is its tag. New fields go at the end and are optional. None of them can be part of a
cycle, so the collector need not go through them (`gc=False`): a watcher keeps a million.
"""

from typing import Literal

import msgspec

from sdk.contract.whole import Whole

#: An app's status as its agent sees it: spawned, has beaten, told to stop, ended.
AppStatus = Literal["starting", "running", "stopping", "exited"]
#: A node's status as its provisioner sees it.
NodeStatus = Literal["starting", "running", "stopping", "exited"]


class _Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of everything on the heartbeats topic."""


class Beat(_Record, frozen=True, gc=False, tag="b"):
    """One heartbeat of a lone source, written straight to Kafka."""

    source: str
    #: Generation of an app, 0 of a lone source.
    epoch: Whole
    number: Whole
    #: The sender's clock, only ever shown.
    sent_at_ms: Whole
    #: Of a bridge that read it in the source's topic: offset of the `SourceExpected` that named the topic; `number` is
    #: then how many records that has had. 0: the source wrote this itself.
    expectation: Whole = 0


class Tick(_Record, frozen=True, gc=False, tag="t"):
    """A worker's beat of the clock."""

    writer: str
    #: Grows by one with each tick of this writer, so that it knows its own when it reads it back.
    number: Whole
    #: The writer bridges: it read every topic that the log up to this offset names to its end less than 500 ms ago,
    #: and what it found there stands before this tick. 0: it says nothing about topics.
    bridged: Whole = 0


class AppEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One app in a report."""

    app: str
    generation: Whole
    status: AppStatus
    #: Time since the app's last beat (since its start if it never beat), on the agent's bounded clock.
    age_ms: Whole
    pid: Whole = 0
    exit_code: Whole | None = None
    #: How it ended, or why it could not be started, in its agent's words.
    reason: str = ""


class NodeEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One node in a provisioner's report."""

    #: Offset of the `NodeOrdered` that asked for it.
    order: Whole
    node: str
    status: NodeStatus
    pid: Whole = 0
    exit_code: Whole | None = None
    reason: str = ""


class Hello(_Record, frozen=True, gc=False, tag="h"):
    """An agent asks to be registered; `reporter` is a node id or a pool id."""

    reporter: str
    #: Drawn anew each time an agent begins to ask.
    claim: str
    #: The order that made this node; 0 of a provisioner.
    order: Whole
    #: The registration on the agent's disk, 0 if none.
    registration: Whole
    number: Whole
    sent_at_ms: Whole
    ip: str
    port: Whole
    #: Id of its pool, `pool-<name>`.
    pool: str
    slots: Whole
    drivers: list[str]
    boot_id: str
    #: What the node may use in all: hundredths of a core, and MiB; 0 if unknown, then nothing is counted.
    cpu_percent: Whole = 0
    memory_mib: Whole = 0
    #: How it keeps apps that are processes within their limits, in words; empty of one that does not say.
    limits: str = ""


class Report(_Record, frozen=True, gc=False, tag="r"):
    """A node agent's beat: that it lives, whom it obeys, and the status of its apps, in full."""

    reporter: str
    registration: Whole
    #: Offset of the log its orders were computed from.
    as_of: Whole
    number: Whole
    sent_at_ms: Whole
    apps: list[AppEntry]
    #: One-minute load of the machine per core, 0 if unknown.
    load: float = 0.0
    #: Memory of the machine, and how much of it is in use; 0 if unknown.
    memory_mib: Whole = 0
    memory_used_mib: Whole = 0


class Unchanged(_Record, frozen=True, gc=False, tag="u"):
    """A node agent's beat that says "as before": all is as in its report at `full`, and every app beat lately.

    Only a report in which all apps run and are fresh is named so, and only once Kafka has acknowledged it.
    """

    reporter: str
    registration: Whole
    number: Whole
    sent_at_ms: Whole
    #: Offset of that report, in the same partition.
    full: Whole
    #: As in a report.
    load: float = 0.0
    memory_mib: Whole = 0
    memory_used_mib: Whole = 0


class PoolReport(_Record, frozen=True, gc=False, tag="p"):
    """A provisioner's beat: that it lives, and the status of its nodes, in full."""

    reporter: str
    registration: Whole
    as_of: Whole
    number: Whole
    sent_at_ms: Whole
    nodes: list[NodeEntry]


def ageless(apps: list[AppEntry]) -> list[AppEntry]:
    """The apps of a report but for the ages of their beats, which are 0 here."""
    return [AppEntry(it.app, it.generation, it.status, 0, it.pid, it.exit_code, it.reason) for it in apps]


def spell_out(record: Unchanged, full: Report) -> Report:
    """The report that "as before" stands for; of ages it says only that they were low, here they are 0."""
    return Report(
        full.reporter,
        full.registration,
        full.as_of,
        record.number,
        record.sent_at_ms,
        ageless(full.apps),
        record.load,
        record.memory_mib,
        record.memory_used_mib,
    )


Heartbeat = Beat | Tick | Hello | Report | PoolReport | Unchanged
