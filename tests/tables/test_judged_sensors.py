"""Sensors whose silence is judged: by the clock of the log, by their own limit or that of their type, or not at all."""

import pytest

from sdk.contract import events as e
from sdk.contract.codec import Asked
from sdk.contract.devices import Device
from sdk.contract.heartbeats import Beat
from sdk.contract.requests import EnableDevice, LimitSensors, RegisterDevice, Request, RetireDevice
from tables.admit import admit
from tables.bridge import Bridge, Wanted
from tables.fold_devices import JUDGED_MAX
from tables.invariants import check_invariants
from tables.silence import PartitionWatch
from tables.views import monitor, operating_state
from tables.watcher import Watcher
from tests.tables.world import World, begin

_HALL, _TOPIC = "sensor-hall", "watchkeep.sensor-hall.v1"
_LIMIT_MS = 6_000
#: A beat is enough for a quarter of the limit; the reading is up to 500 ms old, and two ticks.
_FOUND_MS = _LIMIT_MS + _LIMIT_MS // 4 + 1_250


def _world(*wishes: Request, speaks: bool = True) -> World:
    """A world in which the hall's thermometer is registered, and speaks every 5 s."""
    world = begin()
    if speaks:
        world.clients.add(_TOPIC)
    for wish in wishes:
        world.ask(wish)
    return world


def _state(world: World) -> str:
    return operating_state(world.state.devices[_HALL])


def _silences(world: World) -> list[e.SourceFellSilent]:
    return [event for event in world.of_type(e.SourceFellSilent) if event.source == _HALL]


def _register(limit_ms: int = 0, topic: str = "") -> RegisterDevice:
    return RegisterDevice(Device(_HALL, "thermometer", topic=topic, silence_limit_ms=limit_ms))


def test_a_sensor_works_from_its_first_value_on_and_is_found_silent_by_its_own_limit() -> None:
    """Not before it, and by the facts that every silence has; it works again with its next value."""
    world = _world(_register(_LIMIT_MS))
    assert _state(world) == "unknown"
    world.run(6_000, lambda: _state(world) == "working")
    world.run(30_000)
    assert _silences(world) == []

    last_ms = world.now_ms
    world.clients.clear()
    world.run(_FOUND_MS + 5_000, lambda: bool(_silences(world)))

    (silence,) = _silences(world)
    assert (silence.kind, silence.limit_ms, _state(world)) == ("sensor", _LIMIT_MS, "silent")
    assert world.now_ms - last_ms <= _FOUND_MS
    seen = monitor(world.state, _HALL)
    assert seen is not None
    assert (seen.kind, seen.status, seen.failure_count) == ("sensor", 0, 1)
    world.clients.add(_TOPIC)
    world.run(6_000, lambda: _state(world) == "working")
    world.check_replay()


def test_one_that_never_speaks_is_silent_after_its_limit() -> None:
    """It is waited for from the moment at which its limit counts."""
    world = _world(_register(_LIMIT_MS), speaks=False)
    asked_ms = world.now_ms

    world.run(_LIMIT_MS + 1_500, lambda: _state(world) == "silent")

    assert world.now_ms - asked_ms > _LIMIT_MS


def test_the_limit_of_a_type_counts_for_those_without_one_of_their_own() -> None:
    """From the moment it is set until it is taken away."""
    world = _world(_register(), speaks=False)
    world.run(30_000)
    assert (_state(world), monitor(world.state, _HALL)) == ("unknown", None)

    world.ask(LimitSensors("thermometer", _LIMIT_MS))
    world.run(_LIMIT_MS + 1_500, lambda: _state(world) == "silent")
    world.ask(LimitSensors("thermometer", 0))

    assert (_state(world), world.state.sensor_limits, world.state.judged) == ("unknown", {}, set())
    world.run(2 * _LIMIT_MS)
    assert len(_silences(world)) == 1
    assert check_invariants(world.state) == []


def test_a_sensors_own_limit_goes_before_that_of_its_type() -> None:
    """Longer or shorter."""
    world = _world(_register(20_000), LimitSensors("thermometer", _LIMIT_MS), speaks=False)

    world.run(19_000)
    assert _state(world) == "unknown"
    world.run(3_000, lambda: _state(world) == "silent")


def test_a_limit_that_is_made_shorter_counts_at_once() -> None:
    """A silence that is longer than it already is found without another wait."""
    world = _world(_register(60_000))
    world.run(6_000, lambda: _state(world) == "working")
    world.clients.clear()
    world.run(20_000)
    assert _silences(world) == []

    world.ask(_register(_LIMIT_MS))

    world.run(1_500, lambda: _state(world) == "silent")


def test_a_limit_that_is_made_longer_takes_back_no_word_and_gives_more_time() -> None:
    """What fell silent stays so until it speaks; then the longer limit counts."""
    world = _world(_register(_LIMIT_MS), speaks=False)
    world.run(_LIMIT_MS + 1_500, lambda: _state(world) == "silent")
    world.ask(_register(20_000))
    world.clients.add(_TOPIC)
    world.run(6_000, lambda: _state(world) == "working")
    world.clients.clear()

    world.run(12_000)

    assert (_state(world), len(_silences(world))) == ("working", 1)


def test_a_silence_by_a_limit_that_is_no_more_is_dropped_and_found_by_the_new_one() -> None:
    """The fact was on its way when the limit changed."""
    world = _world(_register(_LIMIT_MS), speaks=False)
    world.run(_LIMIT_MS - 500)
    row = world.state.devices[_HALL]
    world.ask(_register(9_000))
    old = e.SourceFellSilent(_HALL, "sensor", 0, "topic", 0, row.seen + 1, 99, _LIMIT_MS + 1, _LIMIT_MS)
    world.append(old)

    assert "another limit" in world.dropped[-1]
    world.run(4_500, lambda: _state(world) == "silent")


def test_a_disabled_sensor_is_not_judged_and_begins_anew_when_it_is_enabled() -> None:
    """Whatever its limit says."""
    world = _world(_register(_LIMIT_MS))
    world.run(6_000, lambda: _state(world) == "working")
    world.ask(EnableDevice(_HALL, enabled=False))
    world.clients.clear()
    world.run(30_000)
    assert (_silences(world), _state(world)) == ([], "unknown")

    world.ask(EnableDevice(_HALL))
    world.run(_LIMIT_MS - 1_000)
    assert _silences(world) == []
    # Nothing was bridged meanwhile, so that everybody settles.
    world.run(12_500, lambda: _state(world) == "silent")


def test_another_topic_is_another_matter() -> None:
    """What was heard in the old one says nothing about the new one."""
    world = _world(_register(_LIMIT_MS))
    world.run(6_000, lambda: _state(world) == "working")
    before = world.state.devices[_HALL].expectation

    world.ask(_register(_LIMIT_MS, topic="hall-temperature"))

    assert _state(world) == "unknown"
    assert world.state.devices[_HALL].expectation > before
    world.run(_LIMIT_MS + 1_500, lambda: _state(world) == "silent")


def test_a_retired_sensor_is_forgotten_in_the_middle_of_a_silence() -> None:
    """Nothing is said of it any more."""
    world = _world(_register(_LIMIT_MS), speaks=False)
    world.run(_LIMIT_MS - 1_000)
    world.ask(RetireDevice(_HALL))

    world.run(30_000)

    assert (_silences(world), world.state.judged) == ([], set())


def test_no_silence_accrues_while_topics_cannot_be_read() -> None:
    """Neither in a minute in which nobody can read them, nor in the time its device needs to be back."""
    world = _world(_register(_LIMIT_MS))
    world.run(6_000, lambda: _state(world) == "working")

    world.topics_away = True
    world.run(60_000)
    world.topics_away = False
    world.run(60_000)

    assert _silences(world) == []


def test_another_worker_knows_the_limit_too() -> None:
    """It begins where the last one ended, and judges by the limit of the log."""
    world = _world(_register(20_000))
    world.run(20_000)
    world.clients.clear()
    world.run(12_000)

    world.restart_worker()
    world.run(6_000)
    assert _silences(world) == []
    world.run(25_000, lambda: _state(world) == "silent")
    world.check_replay()


def test_a_sensor_that_speaks_often_makes_few_beats() -> None:
    """One for a quarter of its limit, however much it says; the last word is never swallowed."""
    watcher = Watcher(begin().state)
    bridge = Bridge(watcher, "watchkeep")
    wanted = Wanted(9, {_HALL: (_TOPIC, 5)}, {_HALL: 8_000}, frozenset())

    def beats(count: int, clock_ms: int) -> list[Beat]:
        due = bridge.beats_due(wanted, {_TOPIC: count}, now_ms=0, clock_ms=clock_ms)
        for beat in due:
            bridge.written(beat)
        return due

    assert beats(1_000, 0) == []
    written = [clock for clock in range(200, 20_001, 200) if beats(1_000 + clock, clock)]
    assert written == list(range(200, 20_001, 2_000))
    assert beats(21_001, 20_000) == []

    (last,) = beats(21_001, 22_200)

    assert last.number == 21_001


def test_a_verdict_by_a_limit_is_a_function_of_records_and_limits() -> None:
    """A limit that comes after the verdict takes it back, and it is found again by the new one."""
    world = _world(_register(_LIMIT_MS), speaks=False)
    world.run(_LIMIT_MS + 1_500, lambda: _state(world) == "silent")
    watches = world.watcher.watches.values()
    (watch,) = [it for it in watches if _HALL in it.silent]
    limits = watch.silent[_HALL].limit_ms
    again = PartitionWatch.load(watch.dump(), world.state.policy)
    row = world.state.devices[_HALL]

    again.expect_bridged(_HALL, row.expectation, world.state.policy, limit_ms=_LIMIT_MS)
    assert again.silent == watch.silent
    again.expect_bridged(_HALL, row.expectation, world.state.policy, limit_ms=60_000)

    assert (limits, again.silent) == (_LIMIT_MS, {})


@pytest.mark.parametrize("wish", ["register", "enable", "limit"])
def test_no_more_sensors_are_judged_than_can_be_listened_to(wish: str) -> None:
    """Who asks for one more is told how many may be."""
    world = begin()
    state = world.state
    for number in range(JUDGED_MAX):
        name = f"sensor-{number}"
        event = e.DeviceRegistered(f"request-{name}", Device(name, silence_limit_ms=5_000))
        world.append(event)
    world.append(e.DeviceRegistered("request-last", Device("sensor-last", "probe")))
    world.append(e.DeviceRegistered("request-off", Device("sensor-off", silence_limit_ms=5_000)))
    world.append(e.DeviceEnabled("request-off-2", "sensor-off", enabled=False))
    wishes: dict[str, Request] = {
        "register": RegisterDevice(Device("sensor-more", silence_limit_ms=5_000)),
        "enable": EnableDevice("sensor-off"),
        "limit": LimitSensors("probe", 5_000),
    }

    answer = admit(state, Asked("request-more", wishes[wish]))

    assert isinstance(answer, e.RequestRefused)
    assert f"allowed: at most {JUDGED_MAX}" in answer.reason


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (LimitSensors("", 5_000), "is no type: 1 to 100 letters"),
        (LimitSensors("thermometer", 999), "allowed: 0 (none), 1000 to 86400000"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(wish: Request, said: str) -> None:
    """The sentence says what is allowed."""
    answer = admit(begin().state, Asked("request-1", wish))
    assert isinstance(answer, e.RequestRefused)
    assert said in answer.reason
