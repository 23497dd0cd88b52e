"""The rules of tables.silence as they read, without a thought for cost: what the fast watch is compared with."""

import heapq
from collections.abc import Callable

from sdk.contract.heartbeats import Beat, Heartbeat, Hello, PoolReport, Report, Tick, Unchanged
from sdk.contract.policy import Policy
from tables.bridged import NEVER_MS, BridgeClock, Bridging
from tables.heard import Checkpoint, Greeted, Reported, Session, Verdict, keep
from tables.sameness import pack_rest
from tables.silence import PartitionWatch


class PlainWatch(PartitionWatch):
    """Everything a watcher knows of one heartbeat partition, in objects, record by record."""

    def __init__(self, partition: int, *, begin: int, name_of: Callable[[str], str] = str) -> None:
        super().__init__(partition, begin=begin, name_of=name_of)
        self.partition = partition
        #: Offset where reading began and of the next record to apply.
        self.begin = begin
        self.next_offset = begin
        #: The log clock, ms since reading began, and the append time it was last moved by.
        self.clock_ms = 0
        self.append_ms: int | None = None
        #: Clock after the last step that was cut.
        self.cut_ms = NEVER_MS
        self.sessions: dict[str, Session] = {}
        self.silent: dict[str, Verdict] = {}
        self.reports: dict[str, Reported] = {}
        self.hellos: dict[str, Greeted] = {}
        #: Reporters and lone sources heard since somebody cleared it.
        self.heard: set[str] = set()
        #: (app, generation) -> offset of the last report in which its beat was fresh.
        self.app_beats: dict[tuple[str, int], int] = {}
        #: The clock of bridges.
        self.bridges = BridgeClock()
        self._heap: list[tuple[int, str]] = []
        #: Source -> offset at which waiting for it begins, where that lies ahead of what was read.
        self.ahead: dict[str, int] = {}

    def stir(self, source: str) -> None:
        """Nobody is ever quiet here; what it said is compared with the row that changed."""
        self.heard.add(source)

    def compared(self, done: set[str]) -> None:
        """The log lacks nothing of what these said."""
        self.heard -= done

    # --- records ------------------------------------------------------------------------------------

    def apply(self, offset: int, append_ms: int, record: Heartbeat | None, policy: Policy) -> None:
        """Apply one record in offset order; `record` is None for what could not be decoded."""
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        self._advance(append_ms, policy)
        if self.ahead:
            self._begin_waiting(offset)
        match record:
            case Tick():
                if record.bridged:
                    self.bridges.advance(self.clock_ms, self.cut_ms, policy)
                self._close_sessions(offset, record.bridged, policy)
            case Report() | PoolReport():
                self._apply_report(offset, record, policy)
            case Unchanged():
                self._apply_unchanged(offset, record, policy)
            case Hello():
                self._greet(offset, record, policy)
            case Beat():
                self._beat(record.source, record.epoch, offset, policy)
                self._note_way(record)
            case None:
                pass

    def _greet(self, offset: int, hello: Hello, policy: Policy) -> None:
        self.hellos[hello.reporter] = Greeted(hello, offset, self.clock_ms)
        self.heard.add(hello.reporter)
        session = self.sessions.get(hello.reporter)
        if session is not None and session.claim == hello.claim:
            self._beat(hello.reporter, session.epoch, offset, policy)

    def _advance(self, append_ms: int, policy: Policy) -> None:
        if self.append_ms is not None:
            step = append_ms - self.append_ms
            if step > policy.clock_step_max_ms:
                self.clock_ms += policy.clock_step_max_ms
                self.cut_ms = self.clock_ms
            elif step > 0:
                self.clock_ms += step
        self.append_ms = append_ms

    def _apply_report(self, offset: int, report: Report | PoolReport, policy: Policy) -> None:
        known = self.reports.get(report.reporter)
        if known is not None and report.registration < known.report.registration:
            return
        self.unknown.discard(report.reporter)
        rest = pack_rest(report, policy.silence_limit_ms)
        self.reports[report.reporter] = keep(report, offset, self.clock_ms, (), rest)
        self._beat(report.reporter, report.registration, offset, policy)
        if known is not None and isinstance(known.report, Report):
            self._drop_app_beats(known.report, keep=report)
        if isinstance(report, Report):
            for entry in report.apps:
                if entry.age_ms < policy.silence_limit_ms:
                    self.app_beats[entry.app, entry.generation] = offset

    def _apply_unchanged(self, offset: int, record: Unchanged, policy: Policy) -> None:
        known = self.reports.get(record.reporter)
        if known is not None and record.registration < known.report.registration:
            return
        means_it = known is not None and known.offset == record.full
        if (
            known is not None
            and means_it
            and known.rests
            and known.report.registration == record.registration
        ):
            known.unchanged, known.unchanged_offset = record, offset
            for entry in known.apps:
                self.app_beats[entry.app, entry.generation] = offset
        else:
            self._forget_report(record.reporter)
            self.unknown.add(record.reporter)
        self._beat(record.reporter, record.registration, offset, policy)

    def _forget_report(self, reporter: str) -> None:
        reported = self.reports.pop(reporter, None)
        if reported is not None and isinstance(reported.report, Report):
            self._drop_app_beats(reported.report, keep=None)

    def _beat(self, source: str, epoch: int, offset: int, policy: Policy) -> None:
        session = self.sessions.get(source)
        if session is None:
            self.sessions[source] = Session(source, epoch, self.clock_ms, offset)
            heapq.heappush(self._heap, (self.clock_ms + policy.silence_limit_ms, source))
        elif epoch < session.epoch:
            return
        else:
            session.epoch, session.last_ms, session.last_offset = epoch, self.clock_ms, offset
            self.ahead.pop(source, None)
            if self.silent.pop(source, None) is not None:
                heapq.heappush(self._heap, (self.clock_ms + session.limit_ms(policy), source))
        self.heard.add(source)

    def _note_way(self, beat: Beat) -> None:
        """Whether a source wrote its beat itself, or a bridge did."""
        session = self.sessions[beat.source]
        if session.bridging is None:
            if not beat.expectation:
                return
            session.bridging = Bridging(beat.expectation, self.bridges.clock_ms)
        session.bridging.hear(beat, self.bridges.clock_ms)

    # --- silence ------------------------------------------------------------------------------------

    def expect(self, source: str, epoch: int, *, seen: int, policy: Policy, claim: str = "") -> None:
        """Begin to wait for a source that the log knows and no beat was read of.

        Its time starts now, or where `seen` is read: the log may be read further than this partition.
        """
        session = self.sessions.get(source)
        if session is not None and session.epoch >= epoch:
            return
        waiting = source in self.sessions and source not in self.silent
        begins = max(seen, self.begin - 1)
        greeted = self.hellos.get(source)
        if greeted is not None and claim and greeted.hello.claim == claim:
            # It may have said hello again before the log was read.
            begins = max(begins, greeted.offset)
        self.sessions[source] = Session(source, epoch, self.clock_ms, begins, claim=claim)
        if begins >= self.next_offset:
            self.ahead[source] = begins
        self.silent.pop(source, None)
        if not waiting:
            heapq.heappush(self._heap, (self.clock_ms + policy.silence_limit_ms, source))

    def expect_bridged(self, source: str, expectation: int, policy: Policy, *, limit_ms: int = 0) -> None:
        """Begin to wait for a source whose topic is to be read, anew if it is another topic than before.

        One that is waited for already goes on, by the limit that is given now; 0 is the policy's.
        """
        session = self.sessions.get(source)
        known = session.bridging if session is not None else None
        if session is not None and known is not None and known.expectation >= expectation:
            if known.expectation == expectation and known.limit_ms != limit_ms:
                known.limit_ms = limit_ms
                self.silent.pop(source, None)
                self._queue_anew(session, policy)
            return
        waiting = session is not None and source not in self.silent
        bridging = Bridging(expectation, self.bridges.clock_ms, waits=True, limit_ms=limit_ms)
        session = Session(source, 0, self.clock_ms, self.next_offset - 1, bridging)
        self.sessions[source] = session
        self.ahead.pop(source, None)
        self.silent.pop(source, None)
        if waiting:
            self._queue_anew(session, policy)
        else:
            heapq.heappush(self._heap, (session.last_ms + session.limit_ms(policy), source))

    def _queue_anew(self, session: Session, policy: Policy) -> None:
        """Look at a session when it may be over its limit, and not when it was to be looked at before.

        Goes through all that wait: it is for what people change.
        """
        self._heap = [entry for entry in self._heap if entry[1] != session.source]
        self._heap.append((session.last_ms + session.limit_ms(policy), session.source))
        heapq.heapify(self._heap)

    def end_bridging(self, source: str) -> None:
        """Judge a source like any other again: nobody expects it any more."""
        session = self.sessions.get(source)
        if session is not None and session.bridging is not None:
            session.bridging.end()

    def _begin_waiting(self, offset: int) -> None:
        """Start the time of those whose place has been reached."""
        for source in [source for source, at in self.ahead.items() if at <= offset]:
            del self.ahead[source]
            self.sessions[source].last_ms = self.clock_ms

    def forget(self, source: str, *, claim: str) -> None:
        """Stop waiting for a source whose epoch is over; a hello with another claim than its own is kept."""
        self.sessions.pop(source, None)
        self.ahead.pop(source, None)
        self.silent.pop(source, None)
        self._forget_report(source)
        self.unknown.discard(source)
        greeted = self.hellos.get(source)
        if greeted is not None and greeted.hello.claim == claim:
            del self.hellos[source]

    def _drop_app_beats(self, report: Report, *, keep: Report | PoolReport | None) -> None:
        kept = {(entry.app, entry.generation) for entry in keep.apps} if isinstance(keep, Report) else set()
        for entry in report.apps:
            if (entry.app, entry.generation) not in kept:
                self.app_beats.pop((entry.app, entry.generation), None)

    def deadline(self, last_ms: int, limit_ms: int, settling_ms: int, policy: Policy) -> int:
        """Clock at which something last heard at `last_ms` is over `limit_ms`, settling counted in."""
        plain = last_ms + limit_ms
        return max(plain, min(self.cut_ms + settling_ms, plain + policy.settling_in_all_ms))

    def is_overdue(self, last_ms: int, policy: Policy) -> bool:
        """Whether a reporter last heard at `last_ms` counts for the brake.

        Its settling is shorter by a report interval, so that the brake sees a mass failure before any verdict.
        """
        settling_ms = max(0, policy.settling_ms - 2_500)
        return self.clock_ms >= self.deadline(last_ms, policy.overdue_ms, settling_ms, policy)

    def _close_sessions(self, offset: int, bridged: int, policy: Policy) -> None:
        ring = self._heap
        unvouched: list[str] = []
        while ring and ring[0][0] < self.clock_ms:
            _, source = heapq.heappop(ring)
            session = self.sessions.get(source)
            if session is None or source in self.silent:
                continue
            begins_ms = self.clock_ms if source in self.ahead else session.last_ms
            limit_ms = session.limit_ms(policy)
            due = self.deadline(begins_ms, limit_ms, policy.settling_ms, policy)
            if due >= self.clock_ms:
                heapq.heappush(ring, (due, source))
                continue
            bridging = session.bridging
            if bridging is not None and not bridging.is_over:
                left_ms = self.bridges.left_ms(bridging, limit_ms, policy)
                if left_ms >= 0:
                    heapq.heappush(ring, (self.clock_ms + left_ms, source))
                    continue
                if bridged < bridging.expectation:
                    unvouched.append(source)
                    continue
                due = max(due, self.clock_ms + left_ms)
            self.silent[source] = Verdict(
                epoch=session.epoch,
                from_offset=session.last_offset,
                until_offset=offset,
                silent_ms=self.clock_ms - session.last_ms,
                postponed_ms=due - session.last_ms - limit_ms,
                limit_ms=limit_ms,
            )
        for source in unvouched:
            # For the next tick, also if it is of the same moment: of two writers only one is a bridge.
            heapq.heappush(ring, (self.clock_ms - 1, source))

    # --- checkpoint ---------------------------------------------------------------------------------

    def dump(self) -> Checkpoint:
        """What must be kept to go on from `next_offset`."""
        return Checkpoint(
            partition=self.partition,
            begin=self.begin,
            next_offset=self.next_offset,
            clock_ms=self.clock_ms,
            append_ms=self.append_ms,
            cut_ms=self.cut_ms,
            sessions=list(self.sessions.values()),
            silent=self.silent,
            reports=self.reports,
            hellos=self.hellos,
            app_beats=[(app, generation, at) for (app, generation), at in self.app_beats.items()],
            bridges=self.bridges,
            unknown=sorted(self.unknown),
        )

    @classmethod
    def load(cls, saved: Checkpoint, policy: Policy, *, name_of: Callable[[str], str] = str) -> "PlainWatch":
        """The watch that `dump` came from."""
        watch = cls(saved.partition, begin=saved.begin, name_of=name_of)
        watch.next_offset = saved.next_offset
        watch.clock_ms, watch.append_ms, watch.cut_ms = saved.clock_ms, saved.append_ms, saved.cut_ms
        watch.sessions = {session.source: session for session in saved.sessions}
        watch.silent, watch.reports, watch.hellos = saved.silent, saved.reports, saved.hellos
        watch.app_beats = {(app, generation): at for app, generation, at in saved.app_beats}
        watch.bridges = saved.bridges
        watch.unknown = set(saved.unknown)
        watch.heard = set(watch.sessions) | set(watch.hellos)
        watch.ahead = {
            session.source: session.last_offset
            for session in saved.sessions
            if session.last_offset >= saved.next_offset
        }
        watch._heap = [
            (session.last_ms + session.limit_ms(policy), session.source)
            for session in saved.sessions
            if session.source not in watch.silent
        ]
        heapq.heapify(watch._heap)
        return watch
