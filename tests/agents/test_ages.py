"""Apps that beat into a topic with the original heartbeat client, as their agent judges them."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import inputs as i
from agents.ages import topics_wanted
from agents.runner import next_wake
from agents.state import SETTLING_IN_ALL_MS, SETTLING_MS, UNREAD_MS, Found
from sdk.contract.heartbeats import AppEntry
from tests.agents.rig import Rig, app, reports

_APP, _TOPIC = "application-a", "pump"
_READ_MS = 500
_LIMIT_MS = 10_000


class Watched(Rig):
    """An agent that reads topics, and one app whose client may be alive."""

    def __init__(self, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self.count = 0
        self.client_alive = True
        self.is_readable = True
        self._beaten_ms = 0

    def begin(self) -> None:
        """Registered, with the app spawned and its first record read."""
        self.register(app(beats=_TOPIC))
        self.give(i.TopicsRead({_TOPIC: 0}))
        self.give(i.Spawned(_APP, 90, 4_711))
        self.live(_READ_MS)

    def live(self, ms: int) -> list[i.Instruction]:
        """Let time pass: the client writes every 5 s, the topic is read every half second, while that is possible."""
        out: list[i.Instruction] = []
        for _ in range(ms // _READ_MS):
            out += self.wait(_READ_MS)
            if not self.is_readable:
                continue
            if self.client_alive and self.now_ms >= self._beaten_ms:
                self.count += 1
                self._beaten_ms = self.now_ms + 5_000
            out += self.give(i.TopicsRead({_TOPIC: self.count}))
        return out

    def age(self) -> int:
        """Its age in a report made now."""
        self.wait(3_000 if not self.is_readable else 0)
        entry = self.entry(_APP)
        assert entry is not None
        return entry.age_ms

    @property
    def is_late(self) -> bool:
        """Whether it is called late."""
        return self.state.things[_APP].late


def _status(rig: Rig) -> str:
    return rig.state.things[_APP].status


def test_a_record_in_its_topic_is_its_first_beat() -> None:
    """Not what the topic held before, and not what it sends to its agent."""
    rig = Watched()
    rig.register(app(beats=_TOPIC))
    assert topics_wanted(rig.state) == {_TOPIC}
    rig.give(i.TopicsRead({_TOPIC: 7}), i.Spawned(_APP, 90, 4_711))
    rig.give(i.Beaten(_APP, 90), i.TopicsRead({_TOPIC: 7}))
    assert _status(rig) == "starting"

    out = rig.give(i.TopicsRead({_TOPIC: 8})) + rig.wait(100)

    assert _status(rig) == "running"
    assert [entry.status for entry in reports(out)[0].apps] == ["running"]


def test_one_that_hangs_is_reported_at_the_limit() -> None:
    """At once, with an age over the limit; and no more once it beats."""
    rig = Watched()
    rig.begin()
    rig.client_alive = False

    out = rig.live(_LIMIT_MS + _READ_MS)

    assert rig.is_late
    assert reports(out)[-1].apps[0].age_ms >= _LIMIT_MS
    rig.client_alive = True
    rig.live(_READ_MS)
    assert not rig.is_late


def test_a_successor_counts_from_what_is_there() -> None:
    """The records of the copy before are none of its beats."""
    rig = Watched()
    rig.begin()
    rig.client_alive = False
    rig.give(i.Exited(_APP, 90, 1))
    rig.give(rig.node_orders(app(generation=95, beats=_TOPIC), as_of=101))
    rig.give(i.Spawned(_APP, 95, 4_712), i.TopicsRead({_TOPIC: rig.count}))
    assert _status(rig) == "starting"

    rig.give(i.TopicsRead({_TOPIC: rig.count + 1}))

    assert _status(rig) == "running"


def test_one_that_was_found_counts_from_the_first_reading() -> None:
    """After a restart of its agent, whatever the topic holds."""
    rig = Watched(found=[Found(_APP, 90, "alive", pid=4_711)])
    rig.register(app(beats=_TOPIC))
    rig.give(i.TopicsRead({_TOPIC: 40}))
    assert _status(rig) == "starting"

    rig.give(i.TopicsRead({_TOPIC: 41}))

    assert _status(rig) == "running"


def test_a_topic_made_anew_is_counted_from_there() -> None:
    """Fewer records than before are no beat, one more is."""
    rig = Watched()
    rig.begin()
    rig.wait(400)
    rig.give(i.TopicsRead({_TOPIC: 0}))
    assert rig.state.things[_APP].since_ms < rig.now_ms

    rig.wait(400)
    rig.give(i.TopicsRead({_TOPIC: 1}))

    assert rig.state.things[_APP].since_ms == rig.now_ms


def test_age_stands_still_while_the_topic_cannot_be_read() -> None:
    """It grows by no more than what counts as unread, and nobody is called late."""
    rig = Watched()
    rig.begin()
    rig.is_readable = False

    rig.live(60_000)

    assert rig.age() <= 2 * UNREAD_MS
    assert not rig.is_late


def test_after_an_outage_clients_get_time_to_come_back() -> None:
    """Nobody is judged within the settling time; who has not come back by then is late."""
    rig = Watched()
    rig.begin()
    rig.is_readable = rig.client_alive = False
    rig.live(20_000)
    rig.is_readable = True

    rig.live(SETTLING_MS)
    assert not rig.is_late
    rig.live(2 * _READ_MS)
    assert rig.is_late


def test_a_reading_without_orders_makes_nobody_old() -> None:
    """Adopted before orders were read, or let go with them: after an outage its time begins anew."""
    rig = Watched()
    rig.begin()
    rig.state = copy.copy(rig.state)
    rig.state.orders = None

    rig.wait(30_000)
    rig.give(i.TopicsRead({_TOPIC: rig.count}))

    assert rig.now_ms - rig.state.things[_APP].since_ms < _READ_MS
    assert not rig.is_late


def test_settling_is_bounded() -> None:
    """An outage every few seconds does not keep a dead client alive for ever."""
    rig = Watched()
    rig.begin()
    rig.client_alive = False

    readable_ms = 0
    while not rig.is_late:
        rig.is_readable = False
        rig.live(2_000)
        rig.is_readable = True
        rig.live(4_000)
        readable_ms += 4_000 + UNREAD_MS
        assert readable_ms <= _LIMIT_MS + SETTLING_IN_ALL_MS + 10_000


@pytest.mark.parametrize("readable", [True, False])
def test_the_runner_never_wants_a_turn_that_is_over(*, readable: bool) -> None:
    """A deadline that waits for a reading is no reason to turn without end."""
    rig = Watched()
    rig.begin()
    rig.client_alive, rig.is_readable = False, readable

    for _ in range(60):
        rig.live(_READ_MS)
        assert next_wake(rig.state) > rig.now_ms


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(2, 40), st.integers(2, 40), st.integers(0, 12)), max_size=8))
def test_who_beats_when_it_can_is_never_late(outages: list[tuple[int, int, int]]) -> None:
    """Whatever outages come that hold up reading at all, with clients that are back 6 s after each."""
    rig = Watched()
    rig.begin()
    for peace, outage, back in outages:
        rig.live(peace * _READ_MS)
        rig.is_readable = rig.client_alive = False
        rig.live(outage * _READ_MS)
        rig.is_readable = True
        rig.live(back * _READ_MS)
        rig.client_alive = True
        rig.live(_READ_MS)
        assert not any(entry.age_ms >= _LIMIT_MS for _, it in rig.history for entry in _entries(it))


def _entries(instruction: i.Instruction) -> list[AppEntry]:
    return [entry for report in reports([instruction]) for entry in report.apps]


def test_nothing_is_started_or_stopped_for_its_topic() -> None:
    """Readings are news about beats and nothing else."""
    rig = Watched()
    rig.begin()

    out = rig.live(30_000)

    assert not [it for it in out if isinstance(it, i.Spawn | i.Stop | i.Kill)]
