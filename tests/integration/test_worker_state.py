"""Scenario 6: a worker's own disk is lost, and workers are killed again and again under load."""

from __future__ import annotations

import json
import random
import shutil
import threading
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from cli import main
from sdk.contract.codec import Recorded, encode_event
from sdk.contract.events import FoldHashed, PlannerStarted, SourceFellSilent, SourceReturned
from sdk.contract.ids import derive_id
from sdk.contract.requests import ChangePolicy
from sdk.contract.topics import partition_of
from streams.commands import FAILED
from streams.local.rig import Rig
from tests.integration.checks import check_end
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

WORKERS = ["service-worker-1", "service-worker-2"]
ROUNDS = 10
#: A few hundred events a second about so many sources, beside a few requests.
SOURCES = [f"service-load-{number}" for number in range(50)]
BURST_EVERY_S = 0.2
#: Hashes that stand on the log at least: one every thousand events, if its leader lives to write it.
HASHES_MIN = 2


class Load:
    """Events at a steady rate, in bursts, and a request with each burst."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._over = threading.Event()
        #: Set while it flows; it rests while the view is compared, so that the log stays short enough to fold.
        self.flows = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        #: Ids of all events, and of the requests that were acknowledged.
        self.events: list[str] = []
        self.requests: list[str] = []

    def __enter__(self) -> Load:  # noqa: PYI034  # nobody inherits from it
        """Begin."""
        self.flows.set()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._over.set()
        self.flows.set()
        self._thread.join()

    def _run(self) -> None:
        turn = 0
        while not self._over.wait(BURST_EVERY_S):
            self.flows.wait()
            turn += 1
            records = [self._event(turn, source) for source in SOURCES]
            ids = [_id_of(event) for event in records]
            self._rig.log.put_many(
                [
                    (
                        self._rig.topics.events,
                        encode_event(event, event_id=name, cause="", writer="load", at_ms=0),
                        event.source.encode(),
                        0,
                    )
                    for name, event in zip(ids, records, strict=True)
                ]
            )
            self.events += ids
            self.requests.append(self._rig.send(ChangePolicy({"app_backoff_ms": 1_000 + turn % 1_000})))

    def _event(self, turn: int, source: str) -> SourceReturned | SourceFellSilent:
        """A fact that changes rows and disturbs nobody: a lone source comes and goes."""
        beat, partition = turn // 2, partition_of(source)
        if turn % 2:
            return SourceFellSilent(source, "lone", 0, "load", partition, beat, beat, 10_000, 10_000)
        return SourceReturned(source, "lone", 0, "load", partition, beat)


def _id_of(event: SourceReturned | SourceFellSilent) -> str:
    """As a watcher derives it."""
    word, offset = (
        ("silent", event.from_offset) if isinstance(event, SourceFellSilent) else ("returned", event.offset)
    )
    return derive_id(word, event.source, event.epoch, event.topic_id, event.partition, offset)


def test_worker_without_its_disk_comes_back_equal(create_rig: CreateRig) -> None:
    """A worker whose directory is gone folds the log anew and then leads with the same state."""
    rig = create_rig("disk")
    rig.start(nodes=2, slots=4)
    apps = rig.run_apps(["application-a", "application-b", "application-c"])
    since = rig.log.offset + 1
    lost, other = rig.leader(), next(name for name in rig.workers if name != rig.leader())
    old = rig.state().term.term

    rig.workers[lost].restarts = False
    rig.kill(rig.worker_pid(lost))
    rig.wait(lambda state: state.term.term > old, what="the other worker leading")
    shutil.rmtree(rig.folder / lost)
    (rig.folder / lost).mkdir()
    rig.workers[lost].restarts = True
    rig.wait(lambda _: rig.worker_pid(lost), what="the worker back")
    term = rig.state().term.term
    begin_ms = rig.log.tick_ms
    rig.wait(
        lambda _: (newest := rig.log.newest(f"service-{lost}")) and newest.append_ms > begin_ms,
        within_s=30,
        what="the worker without a disk beating",
    )
    rig.workers[other].restarts = False
    rig.kill(rig.worker_pid(other))
    rig.wait(
        lambda state: state.term.term > term and state.term.writer.startswith(f"worker/{lost}/"),
        within_s=30,
        what="the worker without a disk leading",
    )

    # In the middle of a takeover Faust now and then loses a request; the worker's watchdog ends it after 20 s.
    rig.run_apps(["application-d"], within_s=60)
    rig.wait_running(apps)
    check_end(rig, since, touched=WORKERS)


def test_workers_killed_at_random_moments_under_load_leave_the_view_right(create_rig: CreateRig) -> None:
    """Ten times both workers die while hundreds of events a second are written; the view equals the log each time."""
    chance = random.Random(6)
    rig = create_rig("kills")
    rig.start(nodes=1, slots=4)
    rig.run_apps(["application-a"])
    since = rig.log.offset + 1

    with Load(rig) as load:
        for _ in range(ROUNDS):
            begin, asked = rig.log.offset + 1, len(load.requests)
            rig.hold(chance.uniform(0.3, 2.0))
            for name in chance.sample(sorted(rig.workers), 2):
                rig.kill(rig.worker_pid(name))
                rig.hold(chance.uniform(0.0, 0.1))
            rig.wait(
                lambda _: (
                    rig.accepted(PlannerStarted, begin)  # noqa: B023  # it is waited for here
                    and len(load.requests) > asked  # noqa: B023  # the same
                    and load.requests[asked] in rig.log.answers  # noqa: B023  # the same
                ),
                within_s=60,
                what="a leader that answers",
            )
            load.flows.clear()
            assert rig.verify() == []
            load.flows.set()
        # A leader that dies right after the thousandth event takes its hash along; the last one lives on under load.
        rig.wait(
            lambda _: len(rig.accepted(FoldHashed)) >= HASHES_MIN, within_s=60, what="hashes of the fold"
        )

    rig.wait(
        lambda _: all(request in rig.log.answers for request in load.requests),
        within_s=60,
        what=f"answers to all {len(load.requests)} requests",
    )
    on_log = {seen.said.id for seen in rig.events(since) if isinstance(seen.said, Recorded)}
    assert set(load.events) <= on_log
    check_end(rig, since, touched=[*WORKERS, *SOURCES])
    _check_hashes(rig)


def _check_hashes(rig: Rig) -> None:
    """What leaders that were killed hashed every thousand events holds, and one hash that is forged does not."""
    result, found = _verify_hashes(rig)
    assert (result, found["wrong"]) == (0, [])
    assert found["checked"] >= HASHES_MIN

    honest = [
        seen.said.event
        for seen in rig.events(0)
        if isinstance(seen.said, Recorded) and isinstance(seen.said.event, FoldHashed)
    ][-1]
    forged = replace(honest, hash=honest.hash[::-1])
    value = encode_event(forged, event_id=derive_id("forged"), cause="", writer="nobody", at_ms=0)
    [offset] = rig.log.put_many([(rig.topics.events, value, b"platform", 0)])

    result, found = _verify_hashes(rig)
    assert result == FAILED
    assert [(wrong["offset"], wrong["as_of"], wrong["said"]) for wrong in found["wrong"]] == [
        (offset, honest.as_of, forged.hash)
    ]
    assert found["wrong"][0]["folded"] == honest.hash


def _verify_hashes(rig: Rig) -> tuple[int, Any]:
    """Exit code and output of the command, which reads Kafka."""
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    result = CliRunner().invoke(main, ["verify", "--hashes", "-o", "json", *where])
    return result.exit_code, json.loads(result.stdout)
