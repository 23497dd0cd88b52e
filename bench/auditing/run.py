"""One audit: starts a platform, carries out the plan, lets it heal, stops it and has it judged. Shell."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from bench.auditing.cuts import Cuts, create_cut_broker
from bench.auditing.journal import Journal, now_ms
from bench.auditing.judge import judge_kept, judge_topics
from bench.auditing.offered import Offered, share_of_reports, share_of_requests
from bench.auditing.peace import unhealed
from bench.auditing.people import APPS_MIN, NODES_MIN, SLOTS, People, app_spec
from bench.auditing.plan import Step
from bench.auditing.recorded import decode_topics, dump_records, read_records
from bench.auditing.strikes import Strikes
from bench.auditing.victims import leader_of
from bench.auditing.watch import ProcessWatch
from sdk.contract.heartbeats import Beat
from streams.local.rig import Rig
from tables.state import State
from tests.simulation.log_rules import Finding

WORKERS: Final = 3
START_WITHIN_S: Final = 90.0
#: A fault that finds nobody to hit is tried again for so long.
STRIKE_WITHIN_S: Final = 5.0
_AGAIN_S: Final = 0.25
#: Everything wanted runs again: a hold of the brake (60 s), a back-off (60 s), and some.
HEALED_WITHIN_S: Final = 180.0
#: Then nothing more is written for so long.
QUIET_MS: Final = 8_000
QUIET_WITHIN_S: Final = 60.0

#: All records that were judged, in the folder of a run beside its journal.
RECORDS: Final = "records.jsonl"

Say = Callable[[str], None]


class Audited(NamedTuple):
    """What came of a run."""

    findings: list[Finding]
    #: Faults that struck, by kind.
    struck: dict[str, int]
    offered: Offered
    stalls: int
    #: From the end of the last fault to everything well, s.
    healed_s: float
    #: Records judged, of the log and in all.
    events: int
    records: int
    notes: list[str]


def create_rig(folder: Path) -> tuple[Rig, Cuts]:
    """A rig whose children reach their broker through a proxy of ours, and that proxy."""
    broker, ports = create_cut_broker(folder / "kafka")
    rig = Rig(folder, broker=broker, via=f"127.0.0.1:{ports.proxy}", log_level="info")
    return rig, Cuts(port=ports.proxy, broker_port=ports.behind, mark=rig.mark)


class Audit:
    """One run."""

    def __init__(self, folder: Path, steps: list[Step], *, seed: int, length_s: float, say: Say) -> None:
        self._folder = folder
        self._steps = steps
        self._seed = seed
        self._length_s = length_s
        self._say = say
        self.journal = Journal(folder / "journal.jsonl")
        self._struck: Counter[str] = Counter()
        self._missed: list[str] = []
        self._healed_s = 0.0

    def run(self) -> Audited:
        """Everything, from the start of the platform to the verdict."""
        rig, cuts = create_rig(self._folder)
        with rig, cuts:
            self._say("starting a platform")
            cuts.on_late = self.journal.stalled
            rig.start(workers=WORKERS, nodes=NODES_MIN, slots=SLOTS, within_s=START_WITHIN_S)
            chance = Random(f"apps/{self._seed}")
            rig.run_apps([app_spec(number, chance) for number in range(APPS_MIN)], within_s=START_WITHIN_S)
            with ProcessWatch(rig, self.journal):
                begin_ms = now_ms()
                self._carry_out(rig, cuts)
                end_ms = now_ms()
                found = self._heal(rig)
            self._say("comparing the view with the log")
            found += [Finding("the view is the log", text) for text in rig.verify()]
            self._say("stopping")
            kept = [(seen.offset, seen.raw) for seen in rig.events()]
            # At once, so that none takes over from another on the way.
            for minded in rig.minded:
                minded.forsake()
                minded.signal(signal.SIGKILL)
            self.journal.close()
            self._say("reading all topics")
            records = asyncio.run(read_records(rig.bootstrap, rig.prefix))
        dump_records(records, self._folder / RECORDS)
        self._say("judging")
        topics = decode_topics(records)
        truth = self.journal.truth
        judge = judge_topics(topics, truth, faults=self._struck.total(), seed=self._seed)
        found += judge_kept(kept, topics.events) + judge.findings
        planned = sum(step.kind == "fault" for step in self._steps)
        offered = Offered(
            share_of_requests(truth, len(self._steps) - planned),
            self._struck.total() / planned if planned else 1.0,
            share_of_reports(
                judge.timeline.all(), topics.heartbeats, truth, from_ms=begin_ms, until_ms=end_ms
            ),
        )
        stalls = sum(it.what == "stall" for it in truth.troubles)
        return Audited(
            findings=found,
            struck=dict(sorted(self._struck.items())),
            offered=offered,
            stalls=stalls,
            healed_s=self._healed_s,
            events=len(topics.events),
            records=len(records),
            notes=self._missed,
        )

    # --- the plan -----------------------------------------------------------------------------------

    def _carry_out(self, rig: Rig, cuts: Cuts) -> None:
        strikes, people = Strikes(rig, cuts, self.journal), People(rig, self.journal)
        begin_s, begin_ms = time.monotonic(), now_ms()
        try:
            for step in self._steps:
                self._hold_until(begin_s + step.at_s)
                if step.kind == "request":
                    done = people.ask(step, begin_ms + int(step.at_s * 1000))
                else:
                    done = self._strike(strikes, step, begin_s)
                self._say(f"{step}: {done or 'nobody there'}")
            self._hold_until(begin_s + self._length_s)
        finally:
            strikes.close()
        people.wait_sent(20.0)
        if strikes.faults:
            raise RuntimeError("; ".join(strikes.faults))

    def _strike(self, strikes: Strikes, step: Step, begin_s: float) -> str:
        while True:
            done = strikes.strike(step)
            if done:
                self._struck[step.what] += 1
                return done
            if time.monotonic() > begin_s + step.at_s + STRIKE_WITHIN_S:
                self._missed.append(f"{step}: nobody to hit")
                return ""
            time.sleep(_AGAIN_S)

    def _hold_until(self, at_s: float) -> None:
        while (left_s := at_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.1))

    # --- afterwards ---------------------------------------------------------------------------------

    def _heal(self, rig: Rig) -> list[Finding]:
        """Wait until all is well and quiet; what is not in time is a finding."""
        self._say("healing")
        sent = [it.request for it in self.journal.truth.sent]
        begin_ms = now_ms()

        def reason(state: State) -> str:
            missing = [it for it in sent if it not in rig.log.answers]
            mute = [name for name in rig.workers if not _beat_since(rig, name, begin_ms)]
            return (
                unhealed(state)
                or (f"{len(missing)} requests wait, the first is {missing[0]}" if missing else "")
                or (f"{mute} do not beat" if mute else "")
                or ("" if leader_of(state) in rig.workers else "nobody leads")
            )

        last = [""]

        def is_healed(state: State) -> bool:
            last[0] = reason(state)
            return not last[0]

        try:
            rig.wait(is_healed, within_s=HEALED_WITHIN_S, what="everything healed")
        except TimeoutError:
            return [Finding("it heals", f"after {HEALED_WITHIN_S:g} s: {last[0]}")]
        self._healed_s = (now_ms() - begin_ms) / 1000
        self._say(f"healed after {self._healed_s:.1f} s, waiting for quiet")

        def is_quiet(state: State) -> bool:
            events = rig.log.events(rig.log.offset)
            return is_healed(state) and rig.log.tick_ms - events[-1].append_ms >= QUIET_MS

        try:
            rig.wait(is_quiet, within_s=QUIET_WITHIN_S, what="quiet")
        except TimeoutError:
            return [Finding("it comes to rest", f"{last[0] or 'more and more events'}; {rig.events()[-1]}")]
        return []


def _beat_since(rig: Rig, worker: str, since_ms: int) -> bool:
    newest = rig.log.newest(f"service-{worker}")
    return newest is not None and isinstance(newest.said, Beat) and newest.append_ms > since_ms
