"""Services that still run the original heartbeat client: expected, bridged, judged, announced and forgotten."""

from sdk.contract import events as e
from sdk.contract.codec import Asked
from sdk.contract.heartbeats import Beat, Tick
from sdk.contract.policy import Policy
from sdk.contract.requests import ExpectSource, ForgetSource, RunApp
from sdk.contract.specs import AppSpec
from sdk.contract.topics import partition_of
from tables.admit import admit
from tables.fold_sources import EXPECTED_MAX
from tables.rows import SourceRow
from tables.silence import PartitionWatch
from tables.state import State
from tables.views import monitor
from tests.tables.entries import Entry, fold_entry
from tests.tables.world import World, begin

_SOURCE, _TOPIC = "service-scheduler", "scheduler"
_LIMIT_MS = 10_000


def _watched(*, beats: bool = True) -> World:
    """A world in which the scheduler is expected, and heard if it beats."""
    world = begin()
    if beats:
        world.clients.add(_TOPIC)
    world.ask(ExpectSource(_SOURCE))
    if beats:
        world.run(15_000, lambda: _alive(world))
    return world


def _alive(world: World) -> bool:
    seen = monitor(world.state, _SOURCE)
    return seen is not None and bool(seen.status)


def _silences(world: World) -> list[e.SourceFellSilent]:
    return [event for event in world.of_type(e.SourceFellSilent) if event.source == _SOURCE]


def test_records_in_its_topic_are_its_beats() -> None:
    """It is heard at its first record after somebody asked, and stays alive as long as records come."""
    world = _watched()

    world.run(60_000)

    (back,) = world.of_type(e.SourceReturned)
    row = world.state.sources[_SOURCE]
    assert (back.expectation, row.topic, row.failures) == (row.expectation, _TOPIC, 0)
    assert _silences(world) == []
    world.check_replay()


def test_one_that_never_beats_is_announced_once() -> None:
    """It is not alive before, silent after the limit, and back at its first record."""
    world = _watched(beats=False)
    asked_ms = world.now_ms
    assert not _alive(world)

    world.run(_LIMIT_MS + 1_500, lambda: bool(_silences(world)))
    assert world.now_ms - asked_ms > _LIMIT_MS
    world.run(60_000)
    assert len(_silences(world)) == 1
    world.clients.add(_TOPIC)
    world.run(6_000, lambda: _alive(world))

    assert world.state.sources[_SOURCE].failures == 1


def test_one_that_stops_is_found_silent_in_time_and_returns() -> None:
    """Within the limit, what a reading may be old, and two ticks; not before."""
    world = _watched()
    last_ms = world.now_ms
    world.clients.clear()

    world.run(_LIMIT_MS + 1_250, lambda: bool(_silences(world)))

    assert world.now_ms - last_ms > _LIMIT_MS
    world.clients.add(_TOPIC)
    world.run(6_000, lambda: _alive(world))
    world.check_replay()


def test_own_beats_count_as_well() -> None:
    """One that has moved on to the SDK is watched by what it beats now."""
    world = _watched(beats=False)
    world.lone[_SOURCE] = 0
    world.run(6_000, lambda: _alive(world))

    world.run(60_000)
    assert _silences(world) == []
    del world.lone[_SOURCE]
    world.run(_LIMIT_MS + 1_250, lambda: bool(_silences(world)))


def test_no_silence_accrues_while_topics_cannot_be_read() -> None:
    """Neither in a minute in which nobody can read them, nor in the time its client needs to be back."""
    world = _watched()

    world.topics_away = True
    world.run(60_000)
    world.topics_away = False
    world.clients.clear()
    world.run(6_000)
    world.clients.add(_TOPIC)
    world.run(60_000)

    assert _silences(world) == []


def test_one_that_died_unread_is_found_after_settling() -> None:
    """Late rather than never."""
    world = _watched()
    world.topics_away = True
    world.clients.clear()
    world.run(30_000)
    world.topics_away = False

    world.run(_LIMIT_MS + 2_000, lambda: bool(_silences(world)))


def test_another_worker_goes_on_where_the_last_bridge_ended() -> None:
    """Old records are no beats of today: one that died before the change is not heard, and is found silent."""
    world = _watched()
    world.run(20_000)
    world.clients.clear()
    world.run(5_000)
    bridged = _bridged_beats(world)

    world.restart_worker()
    world.run(2 * _LIMIT_MS + 2_000, lambda: bool(_silences(world)))

    assert _bridged_beats(world) == bridged


def test_records_that_no_bridge_saw_are_a_beat_to_the_next() -> None:
    """What came while nobody bridged shows that it lives."""
    world = _watched()
    world.worker_paused = True
    world.run(3_000)
    world.topics[_TOPIC] += 1
    bridged = _bridged_beats(world)
    world.worker_paused = False

    world.restart_worker()
    world.run(1_000)

    assert _bridged_beats(world) == bridged + 1


def _bridged_beats(world: World) -> int:
    heard = world.heartbeats[partition_of(_SOURCE)]
    return sum(isinstance(each.record, Beat) and each.record.source == _SOURCE for each in heard)


def test_a_topic_made_anew_begins_anew() -> None:
    """Fewer records than before are no beat; the next one is."""
    world = _watched()
    world.topics[_TOPIC] = 0
    world.run(1_000)
    before = _bridged_beats(world)

    world.run(6_000)

    assert _bridged_beats(world) == before + 1
    assert _silences(world) == []


def test_forgotten_it_is_watched_no_more_until_it_beats_by_itself() -> None:
    """Also a bridged beat that was on its way does not bring it back; its own beat does, judged like any other's."""
    world = _watched()
    expectation = world.state.sources[_SOURCE].expectation
    world.ask(ForgetSource(_SOURCE))
    world.send(_SOURCE, Beat(_SOURCE, 0, 99, 0, expectation))

    world.run(30_000)
    assert _SOURCE not in world.state.sources
    world.lone[_SOURCE] = 0
    world.run(6_000, lambda: _alive(world))
    del world.lone[_SOURCE]
    world.run(_LIMIT_MS + 500, lambda: bool(_silences(world)))

    world.check_replay()


def test_another_topic_is_another_expectation() -> None:
    """From then on only records of the new topic count."""
    world = _watched()
    world.ask(ExpectSource(_SOURCE, "beats.of.scheduler"))

    world.run(_LIMIT_MS + 1_500, lambda: bool(_silences(world)))
    world.clients.add("beats.of.scheduler")
    world.run(6_000, lambda: _alive(world))


def test_a_service_that_is_run_from_now_on_is_no_lone_source_any_more() -> None:
    """Its row goes with the submission, and it cannot be expected again."""
    world = _watched()

    world.ask(RunApp(AppSpec(_SOURCE, ["python3"])))
    world.ask(ExpectSource(_SOURCE))

    assert _SOURCE not in world.state.sources
    assert world.state.bridged == set()


def test_asking_twice_changes_nothing() -> None:
    """The same topic keeps the expectation."""
    world = _watched()
    before = world.state.sources[_SOURCE]

    world.ask(ExpectSource(_SOURCE, _TOPIC))

    assert world.state.sources[_SOURCE] == before


def _refusal(state: State, wish: ExpectSource) -> str:
    answer = admit(state, Asked("request-1", wish))
    assert isinstance(answer, e.RequestRefused)
    return answer.reason


def test_what_cannot_be_expected_is_refused_with_what_is_allowed() -> None:
    """Names, topics, the platform's own topics, and too many."""
    state = State()
    assert "must begin with service-" in _refusal(state, ExpectSource("scheduler"))
    assert "is no name of a topic" in _refusal(state, ExpectSource(_SOURCE, "a b"))
    assert "of the platform itself" in _refusal(state, ExpectSource(_SOURCE, "watchkeep.heartbeats.v1"))
    for number in range(EXPECTED_MAX):
        row = SourceRow(f"service-{number}", "lone", 0, 5, 0, topic="t", expectation=3)
        state.put("sources", row.source, row)
    assert "at most 1000" in _refusal(state, ExpectSource(_SOURCE))
    fold_entry(state, Entry(1, 1_000, e.SourceExpected("request-2", _SOURCE, _TOPIC)))
    assert _SOURCE not in state.sources


def test_ticks_of_a_bridge_that_did_not_know_close_nothing() -> None:
    """Neither ticks without a bridge nor those of one that read the log less far than the expectation."""
    for bridged, closes in ((0, False), (14, False), (15, True)):
        watch = PartitionWatch(0, begin=0)
        watch.apply(0, 0, Beat(_SOURCE, 0, 1, 0, 15), Policy())
        for number in range(1, 60):
            watch.apply(number, number * 250, Tick("w", number, bridged), Policy())
        assert (_SOURCE in watch.silent) is closes


def test_two_ticks_of_one_moment_are_enough_if_one_is_a_bridges() -> None:
    """Another worker's tick just before it, at the same time, does not hide it."""
    watch = PartitionWatch(0, begin=0)
    watch.apply(0, 0, Beat(_SOURCE, 0, 1, 0, 15), Policy())
    for number in range(1, 60):
        watch.apply(2 * number - 1, number * 250, Tick("other", number), Policy())
        watch.apply(2 * number, number * 250, Tick("bridge", number, 15), Policy())
    assert _SOURCE in watch.silent
