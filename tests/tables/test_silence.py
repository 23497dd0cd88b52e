"""The log clock and its session windows, record by record."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdk.contract.heartbeats import AppEntry, Beat, Heartbeat, Hello, Report, Tick
from sdk.contract.policy import Policy
from tables.heard import Verdict, decode_checkpoint, encode_checkpoint
from tables.silence import PartitionWatch

POLICY = Policy()
NODE = "node-10.0.0.1_8101"
_BEGIN_MS = 1_700_000_000_000
Line = tuple[int, Heartbeat | None]


def _report(registration: int = 7, *apps: AppEntry, source: str = NODE) -> Report:
    return Report(source, registration, 9, 1, 0, list(apps))


def _ticks(until_ms: int, since_ms: int = 0) -> list[Line]:
    return [(at, Tick("writer", at)) for at in range(since_ms, until_ms + 1, 250)]


def _watch(lines: list[Line], watch: PartitionWatch | None = None) -> PartitionWatch:
    """Apply records (ms since the beginning, record) in the order of their times, else of the list."""
    watch = PartitionWatch(0, begin=0) if watch is None else watch
    for at_ms, record in sorted(lines, key=lambda line: line[0]):
        watch.apply(watch.next_offset, _BEGIN_MS + at_ms, record, POLICY)
    return watch


def _found_ms(lines: list[Line]) -> dict[str, int]:
    """When each source was first found silent, ms since the beginning."""
    found: dict[str, int] = {}
    watch = PartitionWatch(0, begin=0)
    for at_ms, record in sorted(lines, key=lambda line: line[0]):
        watch.apply(watch.next_offset, _BEGIN_MS + at_ms, record, POLICY)
        for source in watch.silent:
            found.setdefault(source, at_ms)
    return found


def test_silence_is_found_by_the_first_tick_over_the_limit() -> None:
    """The first tick more than 10 s of clock after the last beat closes the session, and says by how much."""
    watch = _watch([(100, _report()), *_ticks(10_250)])
    assert watch.silent == {NODE: Verdict(7, 1, 42, 10_150, 0, 10_000)}


def test_exactly_the_limit_is_not_over_it() -> None:
    """A source whose last beat is exactly 10 s old is not silent yet."""
    assert _watch([(0, _report()), *_ticks(10_000)]).silent == {}


def _hello(claim: str) -> Hello:
    return Hello(NODE, claim, 1, 0, 1, 0, "10.0.0.1", 8101, "pool-home", 4, [], "boot")


@pytest.mark.parametrize(("claim", "heard"), [("claim-2", True), ("claim-1", False)])
def test_a_hello_is_a_beat_of_the_registration_that_it_won(claim: str, heard: bool) -> None:
    """It is said until orders answer it, and no leader may be there to write them; another claim is a zombie's."""
    watch = PartitionWatch(0, begin=0)
    watch.expect(NODE, 7, seen=0, policy=POLICY, claim="claim-2")
    hellos: list[Line] = [(at, _hello(claim)) for at in range(100, 20_000, 1_000)]
    _watch([*hellos, *_ticks(20_000)], watch)
    assert (NODE not in watch.silent) == heard
    session = watch.sessions[NODE]
    assert (session.epoch, session.last_offset > 0) == (7, heard)


def test_a_hello_that_was_read_before_its_registration_is_cited() -> None:
    """The log may be read later than this partition."""
    watch = _watch([(100, _hello("claim-2")), (1_100, _hello("claim-2"))])
    watch.expect(NODE, 7, seen=0, policy=POLICY, claim="claim-2")
    _watch(_ticks(12_000, 1_250), watch)
    assert watch.silent[NODE].from_offset == 1


def test_only_a_tick_closes_sessions() -> None:
    """Other records move the clock but close nothing."""
    others: list[Line] = [(at, _report(source="node-10.0.0.1_9")) for at in range(0, 20_000, 500)]
    assert _watch([(0, _report()), *others]).silent == {}


def test_no_record_no_time() -> None:
    """While nobody can append, the clock stands still but for one step."""
    watch = _watch([(0, _report()), (60_000, Tick("w", 1))])
    assert (watch.clock_ms, watch.cut_ms, watch.silent) == (1_000, 1_000, {})


def test_clock_never_goes_back() -> None:
    """An append time that steps back moves the clock by nothing, and time goes on from there."""
    watch = PartitionWatch(0, begin=0)
    clocks = []
    for at_ms in (0, 500, -40_000, -39_500, 100, 600):
        watch.apply(watch.next_offset, _BEGIN_MS + at_ms, Tick("w", 1), POLICY)
        clocks.append(watch.clock_ms)
    assert clocks == [0, 500, 500, 1_000, 2_000, 2_500]


def test_unreadable_records_move_the_clock() -> None:
    """What could not be decoded still has an append time, and still counts as read."""
    watch = _watch([(0, _report()), (500, None)])
    assert (watch.clock_ms, watch.next_offset) == (500, 2)


def test_records_read_again_change_nothing() -> None:
    """Offsets below the next one are passed over."""
    watch = _watch([(0, _report()), *_ticks(5_000)])
    before = encode_checkpoint(watch.dump())
    watch.apply(0, _BEGIN_MS, _report(99), POLICY)
    assert encode_checkpoint(watch.dump()) == before


@settings(max_examples=40)
@given(
    jitters=st.lists(st.integers(0, 2_400), min_size=12, max_size=30),
    lost=st.integers(1, 10),
)
def test_reports_with_jitter_and_one_lost_give_no_fact(jitters: list[int], lost: int) -> None:
    """Reports every 2.5 s with jitter up to 2.4 s, one of them lost, are never called silent."""
    at_ms, times = 0, []
    for jitter in jitters:
        times.append(at_ms)
        at_ms += 2_500 + jitter
    lines: list[Line] = [(at, _report()) for number, at in enumerate(times) if number != lost]
    assert _found_ms([*lines, *_ticks(times[-1])]) == {}


@settings(max_examples=40)
@given(jitters=st.lists(st.integers(0, 4_900), min_size=6, max_size=20))
def test_beats_with_jitter_and_none_lost_give_no_fact(jitters: list[int]) -> None:
    """Beats every 5 s with jitter up to 4.9 s and none lost are never called silent."""
    at_ms, times = 0, []
    for jitter in jitters:
        times.append(at_ms)
        at_ms += 5_000 + jitter
    lines: list[Line] = [(at, Beat("service-db", 0, 1, 0)) for at in times]
    assert _found_ms([*lines, *_ticks(times[-1])]) == {}


@st.composite
def _flapping(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int]]:
    """Gaps (from, to) of a broker with up-times of at least 10 s, and when a client is back after each."""
    gaps, back, at_ms = [], [], draw(st.integers(0, 15_000))
    for _ in range(draw(st.integers(1, 6))):
        end_ms = at_ms + draw(st.integers(1_050, 30_000))
        gaps.append((at_ms, end_ms))
        back.append(end_ms + draw(st.integers(0, 6_500)))
        at_ms = end_ms + draw(st.integers(10_000, 30_000))
    return gaps, back


def _up(gaps: list[tuple[int, int]], at_ms: int) -> bool:
    return not any(start <= at_ms < end for start, end in gaps)


def _lines(
    gaps: list[tuple[int, int]], back: list[int], *, every_ms: int, until_ms: int, record: Heartbeat
) -> list[Line]:
    """What a client that beats every so often gets through; nothing from the start of a gap until it is back."""
    silent = [(start, again) for (start, _), again in zip(gaps, back, strict=True)]
    times = {at for at in range(0, until_ms, every_ms) if _up(silent, at)} | {
        at for at in back if at < until_ms
    }
    return [(at, record) for at in times]


@settings(max_examples=60)
@given(flapping=_flapping(), every_ms=st.sampled_from([2_500, 5_000]))
def test_broker_gaps_give_no_fact_about_the_living(
    flapping: tuple[list[tuple[int, int]], list[int]], every_ms: int
) -> None:
    """Gaps of the broker, once or flapping, with clients back within 6.5 s, call nobody silent who lives."""
    gaps, back = flapping
    until_ms = gaps[-1][1] + 40_000
    alive = _lines(gaps, back, every_ms=every_ms, until_ms=until_ms, record=_report())
    ticks = [line for line in _ticks(until_ms) if _up(gaps, line[0])]
    assert _found_ms([*alive, *ticks]) == {}


@settings(max_examples=60)
@example(flapping=([(8_001, 9_051), (19_051, 20_101), (30_101, 31_151)], []), died_ms=0)
@given(flapping=_flapping(), died_ms=st.integers(0, 60_000))
def test_the_dead_are_found_in_spite_of_gaps(
    flapping: tuple[list[tuple[int, int]], list[int]], died_ms: int
) -> None:
    """A dead source is found at most 20 s of clock later than the limit, however the broker flaps."""
    gaps, _ = flapping
    last_ms = max([0, *(at for at in range(0, died_ms + 1, 2_500) if _up(gaps, at))])
    until_ms = max(gaps[-1][1], died_ms) + 45_000
    lines: list[Line] = [(at, _report()) for at in range(0, last_ms + 1, 2_500) if _up(gaps, at)] or [
        (0, _report())
    ]
    ticks = [line for line in _ticks(until_ms) if _up(gaps, line[0])]
    watch = _watch([*lines, *ticks])
    verdict = watch.silent[NODE]
    # A gap at the very end is a step of the clock, which counts as the largest one.
    assert 10_000 < verdict.silent_ms <= 30_000 + POLICY.clock_step_max_ms
    assert verdict.postponed_ms <= 20_000


def test_without_a_gap_the_dead_are_found_within_four_tenths_of_a_second() -> None:
    """Without a gap a dead source is found within the limit and 0.4 s."""
    for phase_ms in range(0, 250, 10):
        found = _found_ms([(phase_ms, _report()), *_ticks(12_000)])
        assert 10_000 < found[NODE] - phase_ms <= 10_400


@pytest.mark.parametrize("gap_ms", [1_500, 5_000, 30_000, 300_000])
@pytest.mark.parametrize("before_ms", [0, 4_000, 9_900])
def test_one_gap_postpones_by_itself_and_ten_seconds(gap_ms: int, before_ms: int) -> None:
    """One gap of g makes the dead be found up to g + 10 s later."""
    gap = (before_ms, before_ms + gap_ms)
    ticks = [line for line in _ticks(gap[1] + 40_000) if _up([gap], line[0])]
    found = _found_ms([(0, _report()), *ticks])
    assert found[NODE] <= 10_400 + gap_ms + 10_000


def test_zombie_does_not_keep_its_successor_alive() -> None:
    """Reports of an older registration neither prolong the session nor replace the newest report."""
    zombie: list[Line] = [(at, _report(5)) for at in range(1_000, 12_000, 1_000)]
    watch = _watch([(0, _report(7)), *zombie, *_ticks(11_000)])
    assert watch.silent[NODE].epoch == 7
    report = watch.reports[NODE].report
    assert report.registration == 7


def test_expected_source_is_found_after_the_limit_from_now() -> None:
    """Who the log knows and nobody heard is silent 10 s of clock after waiting for it began."""
    watch = _watch(_ticks(3_000))
    watch.expect(NODE, 7, seen=2, policy=POLICY)
    _watch(_ticks(13_000, 3_250), watch)
    assert watch.silent == {}
    _watch(_ticks(13_500, 13_250), watch)
    assert watch.silent[NODE].from_offset == 2


def test_zombie_does_not_answer_for_who_is_expected() -> None:
    """A beat of an older epoch does not stop the waiting for the one in force."""
    watch = _watch(_ticks(1_000))
    watch.expect(NODE, 7, seen=0, policy=POLICY)
    _watch([*_ticks(12_000, 1_250), (5_000, _report(5))], watch)
    assert watch.silent[NODE].epoch == 7


def test_beat_after_silence_takes_the_verdict_back() -> None:
    """A beat of the epoch in force ends its silence, and the session can fall silent again."""
    watch = _watch([(0, _report()), *_ticks(11_000)])
    _watch([(11_100, _report())], watch)
    assert watch.silent == {}
    _watch(_ticks(21_500, 11_250), watch)
    assert NODE in watch.silent


def test_forgotten_source_is_waited_for_no_more() -> None:
    """Who is over is not found silent, and its hello is kept only if it carries another claim."""
    hello = Hello(NODE, "claim-2", 1, 7, 1, 0, "10.0.0.1", 8101, "pool-home", 4, [], "boot")
    watch = _watch([(0, _report(7, AppEntry("application-a", 9, "running", 0))), (10, hello)])
    watch.forget(NODE, claim="claim-1")
    assert NODE in watch.hellos
    watch.forget(NODE, claim="claim-2")
    _watch(_ticks(12_000, 250), watch)
    assert (watch.silent, watch.hellos, watch.reports, watch.app_beats) == ({}, {}, {}, {})


def test_last_fresh_beat_of_an_app_is_remembered() -> None:
    """Of an app that is late the offset of the last report with a fresh beat is kept, and dropped with it."""
    late = AppEntry("application-a", 9, "running", 10_500)
    fresh = AppEntry("application-a", 9, "running", 500)
    watch = _watch([(0, _report(7, fresh)), (1, _report(7, fresh)), (2, _report(7, late))])
    assert watch.app_beats == {("application-a", 9): 1}
    _watch([(3, _report(7))], watch)
    assert watch.app_beats == {}


_STEPS = st.sampled_from([0, 1, 250, 250, 250, 900, 1_001, 4_000, 60_000, -500])
_RECORDS = st.sampled_from(
    [
        None,
        *[Tick("w", 1)] * 8,
        _report(5),
        _report(7),
        _report(7, AppEntry("application-a", 9, "running", 500)),
        _report(3, source="node-10.0.0.1_9"),
        Beat("service-db", 0, 1, 0),
        *[Tick("w", 1, 20)] * 6,
        Tick("w", 1, 10),
        Beat("service-old", 0, 1, 0, 15),
        Beat("service-old", 0, 1, 0),
    ]
)


@settings(max_examples=60)
@given(steps=st.lists(st.tuples(_STEPS, _RECORDS), min_size=40, max_size=160), cut=st.integers(0, 160))
def test_checkpoint_anywhere_gives_the_same_verdicts(
    steps: list[tuple[int, Heartbeat | None]], cut: int
) -> None:
    """A watch saved anywhere and loaded again reaches the same verdicts at the same records."""
    whole = PartitionWatch(0, begin=0)
    half = PartitionWatch(0, begin=0)
    at_ms = _BEGIN_MS
    for offset, (step_ms, record) in enumerate(steps):
        at_ms += step_ms
        whole.apply(offset, at_ms, record, POLICY)
        half.apply(offset, at_ms, record, POLICY)
        if offset == cut:
            saved = encode_checkpoint(half.dump())
            half = PartitionWatch.load(decode_checkpoint(saved), POLICY)
        assert half.silent == whole.silent
        assert {key: (one.epoch, one.last_ms) for key, one in half.sessions.items()} == {
            key: (one.epoch, one.last_ms) for key, one in whole.sessions.items()
        }


@settings(max_examples=60)
@given(steps=st.lists(st.tuples(_STEPS, _RECORDS), min_size=40, max_size=160))
def test_no_verdict_without_ten_seconds_of_clock(steps: list[tuple[int, Heartbeat | None]]) -> None:
    """Whatever comes, a verdict rests on more than 10 s of log clock since the last beat of its epoch."""
    watch = PartitionWatch(0, begin=0)
    at_ms = _BEGIN_MS
    for offset, (step_ms, record) in enumerate(steps):
        at_ms += step_ms
        known = set(watch.silent)
        watch.apply(offset, at_ms, record, POLICY)
        for source in watch.silent.keys() - known:
            verdict, session = watch.silent[source], watch.sessions[source]
            assert watch.clock_ms - session.last_ms == verdict.silent_ms > POLICY.silence_limit_ms
            assert isinstance(record, Tick)
            assert source != "service-old" or session.bridging is None or record.bridged >= 15
