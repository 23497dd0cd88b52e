"""The log clock and session windows of one heartbeat partition. Pure.

In stream-processing terms: session windows of beats per source with an inactivity gap of the silence limit,
closed by ticks as watermark. Rules:

1. Time is the partition's own: `clock += clamp(append_time - append_time of the record before, 0, step)`.
   While nobody can append, the clock stands still and no silence accrues.
2. A step that was cut starts settling: nobody's deadline comes before `settling_ms` from there, but settling
   postpones one source by at most `settling_in_all_ms`, counted anew at each of its beats.
3. A session belongs to a source *and its epoch*: beats of an older epoch (a zombie's) do not keep it alive. A hello
   is a beat of the registration that its claim won: its agent says it until a leader's orders tell it so.
4. Only a tick closes sessions, so a verdict is a function of the records up to it, whoever computes it.
5. Records below `next_offset` are ignored, so any stretch may be read again.
6. A source whose topic a bridge reads is judged by the ticks of bridges only (tables.bridged).
7. "As before" (`Unchanged`) is a beat of its node, and says of its apps what the report that it names said, if that is
   the last that was read of it and all its apps ran and were fresh. Else nothing is known of its apps until the next
   report: what was said before is not held against them.

The same record by record, without a thought for cost, is in tests/tables/plain_silence.py.
"""

from collections.abc import Callable

from sdk.contract.heartbeats import Beat, Heartbeat, Hello, PoolReport, Report, Tick, Unchanged
from sdk.contract.policy import Policy
from tables.bridged import NEVER_MS, BridgeClock, Bridging
from tables.comparing import Comparing
from tables.deadlines import Deadlines
from tables.heard import Checkpoint, Greeted, Reported, Session, Verdict, keep
from tables.sameness import Copy, late_copies, pack_rest

#: Of a reporter or lone source at rest each record with such a number is compared with the log all the same: every
#: 5 min of reports, 11 of beats. With 8 these comparisons were a third of the whole, with 32 a tenth; with more an
#: oversight among the rules of `quiet` would last longer.
LOOK_AGAIN = 128


class PartitionWatch(Comparing):
    """Everything a watcher knows of one heartbeat partition.

    `name_of` gives the name of a source as it is kept elsewhere, so that a million names are not kept twice.
    """

    def __init__(self, partition: int, *, begin: int, name_of: Callable[[str], str] = str) -> None:
        super().__init__()
        self.name_of = name_of
        self.partition = partition
        #: Offset where reading began and of the next record to apply.
        self.begin = begin
        self.next_offset = begin
        #: The log clock, ms since reading began, and the append time it was last moved by.
        self.clock_ms = 0
        self.append_ms: int | None = None
        #: Clock after the last step that was cut.
        self.cut_ms = NEVER_MS
        self.reports: dict[str, Reported] = {}
        #: Reporters whose newest record says "as before" of a report that is not known.
        self.unknown: set[str] = set()
        self.hellos: dict[str, Greeted] = {}
        #: (app, generation) that is late -> offset of the last report in which its beat was fresh.
        self.app_beats: dict[Copy, int] = {}
        #: The clock of bridges.
        self.bridges = BridgeClock()
        self._ring = Deadlines()

    # --- records ------------------------------------------------------------------------------------

    def apply(self, offset: int, append_ms: int, record: Heartbeat | None, policy: Policy) -> None:
        """Apply one record in offset order; `record` is None for what could not be decoded."""
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        self._advance(append_ms, policy)
        if self.ahead:
            self._begin_waiting(offset)
        if type(record) is Beat:
            if record.number % LOOK_AGAIN == 0:
                self.quiet.pop(record.source, None)
            self._beat(record.source, record.epoch, offset, policy)
            self._note_way(record)
        elif type(record) is Tick:
            if record.bridged:
                self.bridges.advance(self.clock_ms, self.cut_ms, policy)
            self._close_sessions(offset, record.bridged, policy)
        elif isinstance(record, Unchanged):
            self._apply_unchanged(offset, record, policy)
        elif isinstance(record, Report | PoolReport):
            self._apply_report(offset, record, policy)
        elif record is not None:
            assert isinstance(record, Hello)
            self._greet(offset, record, policy)

    def _greet(self, offset: int, hello: Hello, policy: Policy) -> None:
        self.hellos[hello.reporter] = Greeted(hello, offset, self.clock_ms)
        self.quiet.pop(hello.reporter, None)
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
        if known is not None and report.registration < known.head.registration:
            return
        if self.unknown:
            self.unknown.discard(report.reporter)
        limit_ms = policy.silence_limit_ms
        rest = pack_rest(report, limit_ms)
        late: tuple[Copy, ...] = ()
        if known is not None and rest is not None and known.says_same(report, rest):
            # The bytes that are there already: so many are kept that replacing them would leave holes.
            rest = known.packed
            if report.number % LOOK_AGAIN == 0:
                self.quiet.pop(report.reporter, None)
        else:
            late = late_copies(report, limit_ms)
            self._note_late(known, late)
            self.quiet.pop(report.reporter, None)
        reported = keep(report, offset, self.clock_ms, late, rest)
        self.reports[report.reporter] = reported
        self._beat(report.reporter, report.registration, offset, policy)

    def _apply_unchanged(self, offset: int, record: Unchanged, policy: Policy) -> None:
        reporter = record.reporter
        known = self.reports.get(reporter)
        if known is not None and record.registration < known.head.registration:
            return
        if known is not None and known.is_meant_by(record):
            known.unchanged, known.unchanged_offset = record, offset
            if record.number % LOOK_AGAIN == 0:
                self.quiet.pop(reporter, None)
        else:
            self.quiet.pop(reporter, None)
            self._drop_report(reporter)
            self.unknown.add(reporter)
        self._beat(reporter, record.registration, offset, policy)

    def _drop_report(self, reporter: str) -> None:
        """Forget what a reporter said."""
        reported = self.reports.pop(reporter, None)
        for copy in reported.late if reported is not None else ():
            self.app_beats.pop(copy, None)

    def _note_late(self, known: Reported | None, late: tuple[Copy, ...]) -> None:
        """Remember of whoever is late since this report that its beat was fresh in the one before."""
        if known is None:
            return
        before, now = set(known.late), set(late)
        for copy in before - now:
            self.app_beats.pop(copy, None)
        if now - before:
            named = {(entry.app, entry.generation) for entry in known.apps}
            self.app_beats.update(dict.fromkeys((now - before) & named, known.newest_offset))

    def _beat(self, source: str, epoch: int, offset: int, policy: Policy) -> None:
        session = self.sessions.get(source)
        if session is None:
            source = self.name_of(source)
            self.sessions[source] = Session(source, epoch, self.clock_ms, offset)
            self._ring.put(self.clock_ms + policy.silence_limit_ms, source)
            self._link(source)
        elif epoch < session.epoch:
            return
        else:
            if epoch != session.epoch:
                self.quiet.pop(source, None)
                session.epoch = epoch
            session.last_ms, session.last_offset = self.clock_ms, offset
            if self.ahead and self.ahead.pop(source, None) is not None:
                self._link(source)
            if self.silent and self.silent.pop(source, None) is not None:
                self.quiet.pop(source, None)
                self._ring.put(self.clock_ms + session.limit_ms(policy), source)
        if source not in self.quiet:
            self._stirred.discard(source)
            self.heard.add(source)

    def _note_way(self, beat: Beat) -> None:
        """Whether a source wrote its beat itself, or a bridge did."""
        session = self.sessions[beat.source]
        if session.bridging is None:
            if not beat.expectation:
                return
            session.bridging = Bridging(beat.expectation, self.bridges.clock_ms)
            self._link(beat.source)
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
        self._link(source)
        if not waiting:
            self._ring.put(self.clock_ms + policy.silence_limit_ms, source)

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
        self._link(source)
        if waiting:
            self._queue_anew(session, policy)
        else:
            self._ring.put(session.last_ms + session.limit_ms(policy), source)

    def _queue_anew(self, session: Session, policy: Policy) -> None:
        """Look at a session when it may be over its limit, and not when it was to be looked at before."""
        self._ring.remove(session.source)
        self._ring.put(session.last_ms + session.limit_ms(policy), session.source)

    def end_bridging(self, source: str) -> None:
        """Judge a source like any other again: nobody expects it any more."""
        session = self.sessions.get(source)
        if session is not None and session.bridging is not None:
            session.bridging.end()

    def _begin_waiting(self, offset: int) -> None:
        """Start the time of those whose place has been reached."""
        for source in [source for source, at in self.ahead.items() if at <= offset]:
            self.ahead.pop(source)
            self.sessions[source].last_ms = self.clock_ms
            self._link(source)

    def forget(self, source: str, *, claim: str) -> None:
        """Stop waiting for a source whose epoch is over; a hello with another claim than its own is kept."""
        self.sessions.pop(source, None)
        self.ahead.pop(source, None)
        self.silent.pop(source, None)
        self._link(source)
        self._drop_report(source)
        self.unknown.discard(source)
        greeted = self.hellos.get(source)
        if greeted is not None and greeted.hello.claim == claim:
            del self.hellos[source]

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
        ring, clock_ms, usual_ms = self._ring, self.clock_ms, policy.silence_limit_ms
        sessions, unvouched = self.sessions.get, list[str]()
        for source in ring.take(clock_ms):
            if (session := sessions(source)) is None:
                continue
            if session.bridging is None and session.last_ms + usual_ms >= clock_ms:
                # Nearly all: heard since it was put there, so not before this; settling only makes it later.
                ring.put(session.last_ms + usual_ms, source)
                continue
            if source in self.silent:
                continue
            begins_ms = clock_ms if source in self.ahead else session.last_ms
            limit_ms = session.limit_ms(policy)
            due = self.deadline(begins_ms, limit_ms, policy.settling_ms, policy)
            if due >= clock_ms:
                ring.put(due, source)
                continue
            bridging = session.bridging
            if bridging is not None and not bridging.is_over:
                left_ms = self.bridges.left_ms(bridging, limit_ms, policy)
                if left_ms >= 0:
                    ring.put(clock_ms + left_ms, source)
                    continue
                if bridged < bridging.expectation:
                    unvouched.append(source)
                    continue
                due = max(due, clock_ms + left_ms)
            self.silent[source] = Verdict(
                epoch=session.epoch,
                from_offset=session.last_offset,
                until_offset=offset,
                silent_ms=clock_ms - session.last_ms,
                postponed_ms=due - session.last_ms - limit_ms,
                limit_ms=limit_ms,
            )
            self._link(source)
        for (
            source
        ) in unvouched:  # For the next tick, of this moment too: of two writers only one is a bridge.
            ring.put(clock_ms - 1, source)

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
    def load(
        cls, saved: Checkpoint, policy: Policy, *, name_of: Callable[[str], str] = str
    ) -> "PartitionWatch":
        """The watch that `dump` came from."""
        watch = cls(saved.partition, begin=saved.begin, name_of=name_of)
        watch.next_offset = saved.next_offset
        watch.clock_ms, watch.append_ms, watch.cut_ms = saved.clock_ms, saved.append_ms, saved.cut_ms
        for session in saved.sessions:
            session.source = name_of(session.source)
            watch.sessions[session.source] = session
        watch.silent, watch.reports, watch.hellos = saved.silent, saved.reports, saved.hellos
        watch.app_beats = {(app, generation): at for app, generation, at in saved.app_beats}
        watch.bridges = saved.bridges
        watch.unknown = set(saved.unknown)
        watch.heard = set(watch.sessions) | set(watch.hellos)
        ahead = (session for session in saved.sessions if session.last_offset >= saved.next_offset)
        watch.ahead = {session.source: session.last_offset for session in ahead}
        watch._ring = Deadlines(saved.clock_ms)
        for session in saved.sessions:
            if session.source not in watch.silent:
                watch._ring.put(session.last_ms + session.limit_ms(policy), session.source)
        return watch
