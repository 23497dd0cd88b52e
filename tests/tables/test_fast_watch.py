"""That the watch which is fast and the one that is plain say the same of everybody."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract.heartbeats import (
    AppEntry,
    AppStatus,
    Beat,
    Heartbeat,
    Hello,
    NodeEntry,
    PoolReport,
    Report,
    Tick,
    Unchanged,
)
from sdk.contract.policy import Policy
from tables.deadlines import Deadlines
from tables.heard import decode_checkpoint, encode_checkpoint
from tables.rows import SourceRow
from tables.silence import PartitionWatch
from tables.state import State
from tables.watcher import Watcher
from tests.tables.plain_silence import PlainWatch

POLICY = Policy()
NODES = ("node-10.0.0.1_8101", "node-10.0.0.1_8102")
LONE = ("service-db", "service-old")
_BEGIN_MS = 1_700_000_000_000
_STATUSES: list[AppStatus] = ["running", "running", "running", "running", "starting", "exited"]


def _apps(*names: str) -> st.SearchStrategy[list[AppEntry]]:
    return st.lists(
        st.builds(
            AppEntry,
            app=st.sampled_from(names),
            generation=st.sampled_from([9, 12]),
            status=st.sampled_from(_STATUSES),
            age_ms=st.sampled_from([0, 500, 4_000, 9_999, 10_000, 30_000]),
        ),
        max_size=3,
        unique_by=lambda entry: (entry.app, entry.generation),
    )


def _reports(node: str, *names: str) -> st.SearchStrategy[Report]:
    """Reports of a node: no other node has its copies, as a generation is placed once."""
    return st.builds(
        Report,
        reporter=st.just(node),
        registration=st.sampled_from([5, 7, 7, 7]),
        as_of=st.sampled_from([9, 9, 9, 30]),
        number=st.integers(20, 40),
        sent_at_ms=st.just(0),
        apps=_apps(*names),
    )


_RECORDS: st.SearchStrategy[Heartbeat | None] = st.one_of(
    st.none(),
    st.builds(Tick, st.just("w"), st.just(1), st.sampled_from([0, 0, 0, 10, 20])),
    st.builds(Tick, st.just("w"), st.just(1), st.just(20)),
    _reports(NODES[0], "application-a", "application-b"),
    _reports(NODES[1], "application-c", "application-d"),
    st.builds(
        PoolReport,
        reporter=st.just("pool-home"),
        registration=st.just(4),
        as_of=st.just(9),
        number=st.just(1),
        sent_at_ms=st.just(0),
        nodes=st.just([NodeEntry(1, NODES[0], "running")]),
    ),
    st.builds(
        Beat,
        source=st.sampled_from(LONE),
        epoch=st.just(0),
        number=st.integers(20, 40),
        sent_at_ms=st.just(0),
        expectation=st.sampled_from([0, 0, 15]),
    ),
    st.builds(
        Unchanged,
        reporter=st.sampled_from(NODES),
        registration=st.sampled_from([5, 7, 7, 7]),
        number=st.integers(20, 40),
        sent_at_ms=st.just(0),
        # How far it is from the report that was read last; see `_meant`.
        full=st.sampled_from([0, 0, 0, 0, 1]),
    ),
    st.builds(
        lambda node, claim: Hello(node, claim, 1, 7, 1, 0, "10.0.0.1", 8101, "pool-home", 4, [], "boot"),
        st.sampled_from(NODES),
        st.sampled_from(["one", "two"]),
    ),
)
#: What the fold makes a watcher do between two records: (what, whom, number).
_CALLS = st.tuples(
    st.sampled_from(
        ["expect", "expect ahead", "bridge", "bridge by its own limit", "end", "forget", "compared"]
    ),
    st.sampled_from([*NODES, *LONE]),
    st.sampled_from([5, 7, 15, 16]),
)
_STEPS = st.tuples(
    st.sampled_from([0, 1, 250, 250, 250, 900, 1_001, 4_000, 60_000, -500]),
    _RECORDS | st.just(Tick("w", 1)) | _CALLS,
)


def _do(watch: PartitionWatch, what: str, source: str, number: int) -> None:
    """What a watcher does when a row changes."""
    watch.stir(source)
    match what:
        case "expect":
            watch.expect(source, number, seen=0, policy=POLICY, claim="one")
        case "expect ahead":
            watch.expect(source, number, seen=watch.next_offset + 3, policy=POLICY)
        case "bridge":
            watch.expect_bridged(source, number, POLICY)
        case "bridge by its own limit":
            watch.expect_bridged(source, number, POLICY, limit_ms=1_000 * number)
        case "end":
            watch.end_bridging(source)
        case "forget":
            watch.forget(source, claim="one")
        case "compared":
            watch.compared({source})


def _meant(watch: PartitionWatch, record: object) -> object:
    """An `Unchanged` with the offset of the report that is known, or one that is none of its."""
    if not isinstance(record, Unchanged):
        return record
    known = watch.reports.get(record.reporter)
    return msgspec.structs.replace(record, full=record.full + (known.offset if known is not None else 0))


def _knowledge(watch: PartitionWatch) -> object:
    """All that facts are made of."""
    late = [
        (entry.app, entry.generation)
        for it in watch.reports.values()
        if isinstance(it.report, Report)
        for entry in it.report.apps
        if entry.age_ms >= POLICY.silence_limit_ms
    ]
    reports = {
        name: (it.report, it.offset, it.clock_ms, it.newest, it.newest_offset, it.rests)
        for name, it in watch.reports.items()
    }
    beats = {copy: watch.app_beats.get(copy) for copy in late}
    return (
        watch.silent,
        watch.unknown,
        watch.sessions,
        reports,
        watch.hellos,
        beats,
        watch.clock_ms,
        watch.cut_ms,
        watch.bridges,
    )


@settings(max_examples=80)
@given(steps=st.lists(_STEPS, min_size=20, max_size=60), cut=st.integers(0, 60))
def test_fast_watch_says_what_the_plain_one_says(steps: list[tuple[int, object]], cut: int) -> None:
    """After every record both know the same, also when the fast one was saved and loaded on the way."""
    fast: PartitionWatch = PartitionWatch(0, begin=0)
    plain = PlainWatch(0, begin=0)
    at_ms = _BEGIN_MS
    for place, (step_ms, record) in enumerate(steps):
        at_ms += step_ms
        record = _meant(plain, record)  # noqa: PLW2901  # only now it is known where its report stands
        for watch in (fast, plain):
            if isinstance(record, tuple):
                _do(watch, *record)
            else:
                watch.apply(watch.next_offset, at_ms, record, POLICY)  # type: ignore[arg-type]  # see _STEPS
        if place == cut:
            saved = encode_checkpoint(fast.dump())
            fast = PartitionWatch.load(decode_checkpoint(saved), POLICY)
        assert _knowledge(fast) == _knowledge(plain)
        assert (plain.heard & plain.sessions.keys()) - fast.heard <= fast.quiet.keys()


@settings(max_examples=40)
@given(puts=st.lists(st.tuples(st.integers(-1_000, 20_000), st.integers(0, 1_000)), min_size=1, max_size=60))
def test_ring_gives_everybody_once_and_in_time(puts: list[tuple[int, int]]) -> None:
    """Whoever waits is taken once, at the first look past its time or at most a bucket's width sooner."""
    ring, clock_ms = Deadlines(), 0
    waiting: dict[str, int] = {}
    for number, (due_ms, step_ms) in enumerate(puts):
        ring.put(due_ms, str(number))
        waiting[str(number)] = due_ms
        clock_ms += step_ms
        for source in ring.take(clock_ms):
            assert waiting.pop(source) < clock_ms + 256
        assert all(due >= clock_ms for due in waiting.values())


def test_report_at_rest_is_compared_again_now_and_then() -> None:
    """A reporter that says the same is not compared, but for one report of 128; a change always is."""
    watch = PartitionWatch(0, begin=0)
    entry = AppEntry("application-a", 9, "running", 100)
    heard = []
    for number in range(1, 258):
        watch.apply(number, _BEGIN_MS, Report(NODES[0], 7, 9, number, 0, [entry]), POLICY)
        heard.append(bool(watch.heard))
        watch.compared(set(watch.heard))
    gone = Report(NODES[0], 7, 9, 258, 0, [])
    watch.apply(258, _BEGIN_MS, gone, POLICY)

    assert [number for number, it in enumerate(heard, 1) if it] == [1, 128, 256]
    assert watch.heard == {NODES[0]}


def test_changed_row_has_the_next_record_compared() -> None:
    """A comparison that came between a change of the log and the next record does not make a source quiet."""
    watch = PartitionWatch(0, begin=0)
    watch.apply(0, _BEGIN_MS, Beat(LONE[0], 0, 1, 0), POLICY)
    watch.stir(LONE[0])
    watch.compared({LONE[0]})
    watch.apply(1, _BEGIN_MS, Beat(LONE[0], 0, 2, 0), POLICY)
    first = set(watch.heard)
    watch.compared(first)
    watch.apply(2, _BEGIN_MS, Beat(LONE[0], 0, 3, 0), POLICY)

    assert first == {LONE[0]}
    assert watch.heard == set()


def test_a_name_that_the_log_has_is_not_kept_twice() -> None:
    """A session goes by the string of the row, also one from a checkpoint; without a row by its own."""
    state, name = State(), LONE[0]
    state.put("sources", name, SourceRow(name, "lone", 0, seen=0, since_ms=0))
    watcher = Watcher(state)
    watch = PartitionWatch(0, begin=0, name_of=watcher.name_of)
    for offset, source in enumerate(LONE):
        watch.apply(offset, _BEGIN_MS, Beat(source.encode().decode(), 0, 1, 0), POLICY)
    saved = decode_checkpoint(encode_checkpoint(watch.dump()))
    again = PartitionWatch.load(saved, POLICY, name_of=watcher.name_of)

    for it in (watch, again):
        assert list(it.sessions) == list(LONE)
        key = next(iter(it.sessions))
        assert key is name
        assert it.sessions[key].source is name
