"""Commands to controllers: what is admitted, which is in force, how each ends, and what ought to stand on the topic."""

import msgspec
import pytest

from sdk.contract.codec import Asked
from sdk.contract.controllers import VALUE_BYTES_MAX, text_of
from sdk.contract.devices import Device
from sdk.contract.events import (
    ControllerReported,
    ControllerSetRequested,
    DeviceRegistered,
    Event,
    RequestRefused,
    TimerFired,
)
from sdk.contract.requests import (
    BindDevice,
    EnableDevice,
    RegisterDevice,
    Request,
    RetireDevice,
    SetController,
    UnbindDevice,
)
from tables.admit import admit
from tables.commands import KEPT_MAX, LATE_MS, command_in_force, desired_for
from tables.device_rows import CommandRow
from tables.invariants import check_invariants
from tables.state import State
from tables.timers import Timers
from tests.streams.logs import Log

APP, LAMP = "application-a", "controller-lamp"


class House:
    """A lamp that an app has, and the log on which all is asked."""

    def __init__(self) -> None:
        self.log = Log()
        self.log.start(nodes=1)
        self.log.add_app(APP, "node-127.0.0.1_8082")
        self._count = 0
        for wish in (
            RegisterDevice(Device(LAMP, "lamp")),
            RegisterDevice(Device("controller-fan")),
            RegisterDevice(Device("sensor-hall")),
            BindDevice(APP, 0, LAMP),
            BindDevice("application-b", 0, "controller-fan"),
        ):
            self.ask(wish)

    @property
    def state(self) -> State:
        """The fold."""
        return self.log.state

    @property
    def generation(self) -> int:
        """The one in force."""
        return self.state.apps[APP].generation

    def ask(self, request: Request, command: str = "") -> Event:
        """Ask, and fold the answer."""
        self._count += 1
        event = admit(self.state, Asked(command or f"request-{self._count}", request))
        self.log.add(event)
        assert check_invariants(self.state) == []
        return event

    def set(self, command: str, value: str = "1", **more: int | str) -> CommandRow:
        """The app sets its lamp."""
        wish = msgspec.structs.replace(SetController(value, 30_000, APP), **more)
        assert isinstance(self.ask(wish, command), ControllerSetRequested)
        return self.state.commands[command]

    def refusal(self, wish: SetController) -> str:
        """Why a command is refused."""
        answer = self.ask(wish)
        assert isinstance(answer, RequestRefused)
        return answer.reason

    def report(self, command: str, *, accepted: bool = True) -> None:
        """The lamp has done it."""
        self.log.add(ControllerReported(LAMP, command, "done", "2", 7), accepted=accepted)
        assert check_invariants(self.state) == []

    def desired(self) -> tuple[str, str, bool]:
        """Command, value and whether it was withdrawn, as they ought to stand on the lamp's topic."""
        desired = desired_for(self.state, LAMP, topic_id="log-1")
        assert desired is not None
        assert desired.as_of == self.state.offset
        return desired.command, text_of(desired.value), desired.withdrawn


@pytest.fixture
def house() -> House:
    """One lamp, one app."""
    return House()


def test_a_command_is_desired_until_its_device_has_done_it_and_stays_what_is_desired(house: House) -> None:
    """The report ends it, once; what was reported is kept."""
    assert house.set("c1", '{"on": true}').phase == "desired"
    assert house.desired() == ("c1", '{"on": true}', False)
    house.report("c1")
    row = house.state.commands["c1"]
    assert (row.phase, row.reported, row.wake) == ("done", "2", None)
    assert house.desired() == ("c1", '{"on": true}', False)
    house.report("c1", accepted=False)


def test_a_newer_command_takes_the_place_of_the_one_before(house: House) -> None:
    """The older has ended as rejected, and a report about it comes too late."""
    house.set("c1")
    house.set("c2", "2")
    assert house.state.commands["c1"].phase == "rejected"
    assert house.state.commands["c1"].reason == "superseded by command c2"
    assert house.desired() == ("c2", "2", False)
    house.report("c1", accepted=False)
    house.report("c2")
    # What is done is not touched by what comes after it.
    house.set("c3", "3")
    assert house.state.commands["c2"].phase == "done"


def test_a_command_whose_time_is_over_is_withdrawn(house: House) -> None:
    """The timer is due when the log says that the time has passed, and a report that comes then changes nothing."""
    row = house.set("c1", for_ms=5_000)
    timers = Timers(house.state)
    house.log.now_ms += 6_000
    house.ask(RegisterDevice(Device("sensor-yard")))
    (fired,) = timers.fire()
    assert (fired.table, fired.key, fired.set_at) == ("commands", "c1", row.offset)
    house.log.add(fired)
    assert house.state.commands["c1"].phase == "expired"
    assert house.desired() == ("c1", "1", True)
    house.report("c1", accepted=False)
    house.log.add(fired, accepted=False)


def test_a_timer_of_another_term_withdraws_nothing(house: House) -> None:
    """A leader that was paused may write what it likes."""
    row = house.set("c1")
    stale = TimerFired(term=99, based_on=0, policy=-1, table="commands", key="c1", set_at=row.offset)
    house.log.add(stale, accepted=False)
    assert house.state.commands["c1"].phase == "desired"


def test_a_request_that_comes_long_after_its_time_is_never_desired(house: House) -> None:
    """No worker ran for an hour: nobody wants the lamp switched now."""
    house.set("c1", "1")
    sent_at_ms = house.log.now_ms - 3_600_000
    row = house.set("c2", "2", for_ms=5_000, sent_at_ms=sent_at_ms)
    assert row.phase == "expired"
    assert house.desired() == ("c2", "2", True)
    # A clock that is a little off does no harm.
    assert house.set("c3", "3", for_ms=5_000, sent_at_ms=house.log.now_ms - LATE_MS).phase == "desired"


def test_only_the_generation_in_force_may_set(house: House) -> None:
    """A copy that was replaced is refused, whenever its request comes: at the door, and again in the fold."""
    assert house.set("c1", generation=house.generation).phase == "desired"
    old = house.generation - 1
    said = f"generation {old} of {APP} is not in force, {house.generation} is"
    assert house.refusal(SetController("1", 1_000, APP, generation=old)) == said
    # Admitted by a worker that had not read of the new generation.
    house.log.add(ControllerSetRequested("c2", LAMP, "9", 1_000, APP, old))
    assert (house.state.commands["c2"].phase, house.state.commands["c2"].reason) == ("refused", said)
    assert house.desired() == ("c1", "1", False)


def test_the_same_request_again_is_the_same_command(house: House) -> None:
    """Also after it was done."""
    house.set("c1")
    again = ControllerSetRequested("c1", LAMP, "1", 30_000, APP)
    house.log.add(again, accepted=False)
    house.report("c1")
    house.log.add(again, accepted=False)
    assert house.state.commands["c1"].phase == "done"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (SetController("1", 1_000, APP, 3), f"not bound: {APP} has no controller at index 3; bound: 0"),
        (
            SetController("1", 1_000, "application-x"),
            "unknown app: no app 'application-x' is known, and no controller is bound to it",
        ),
        (
            SetController("1", 1_000, APP, controller="controller-fan"),
            f"not yours: controller-fan is not bound to {APP}; application-b has it",
        ),
        (SetController("1", 1_000, controller="controller-x"), "no controller 'controller-x'"),
        (SetController("1", 1_000, controller="sensor-hall"), "no controller 'sensor-hall'"),
        (SetController("1", 1_000), "app: name one, or the controller by its id"),
        (SetController("on", 1_000, APP), "value: 'on' is no JSON"),
        (SetController("[" * 40 + "]" * 40, 1_000, APP), "value: nested deeper than 32"),
        (
            SetController(f'"{"x" * VALUE_BYTES_MAX}"', 1_000, APP),
            f"value: {VALUE_BYTES_MAX + 2} bytes of JSON; allowed: at most {VALUE_BYTES_MAX}",
        ),
        (SetController("1", 0, APP), "for_ms: 0 is out of range; allowed: 100 to 86400000 (24 h)"),
        (SetController("1", 1_000, APP, 10_000), "index: 10000 is out of range; allowed: 0 to 9999"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_reason(house: House, wish: SetController, said: str) -> None:
    """Which, and what is allowed."""
    assert house.refusal(wish) == said
    assert house.state.commands == {}


def test_a_person_may_set_any_controller_but_one_that_is_switched_off(house: House) -> None:
    """Without an app, by its id."""
    wish = SetController("1", 1_000, controller="controller-fan")
    assert isinstance(house.ask(wish), ControllerSetRequested)
    house.ask(EnableDevice("controller-fan", enabled=False))
    assert house.refusal(wish) == "controller-fan is switched off"


def test_commands_of_a_retired_controller_are_forgotten(house: House) -> None:
    """And nothing is desired of it any more."""
    house.set("c1")
    house.ask(UnbindDevice(APP, 0, "controller"))
    house.ask(RetireDevice(LAMP))
    assert house.state.commands == {}
    assert desired_for(house.state, LAMP, topic_id="log-1") is None


def test_many_commands_are_forgotten_oldest_first_but_never_the_one_in_force(house: House) -> None:
    """Neither by newer ones, nor by a flood of refused ones."""
    for number in range(KEPT_MAX + 5):
        house.set(f"c{number}")
    assert len(house.state.commands) == KEPT_MAX
    assert "c4" not in house.state.commands
    for number in range(KEPT_MAX + 5):
        house.log.add(ControllerSetRequested(f"bad{number}", LAMP, "9", 1_000, APP, 3))
    assert check_invariants(house.state) == []
    assert len(house.state.commands) == KEPT_MAX
    in_force = command_in_force(house.state, LAMP)
    assert in_force is not None
    assert in_force.command == f"c{KEPT_MAX + 4}"


def test_a_controller_has_a_topic_of_its_own_and_none_of_the_platform(house: House) -> None:
    """The leader writes there."""
    topics = ("watchkeep.events.v1", "house-lamp", "house-lamp")
    answers = [
        house.ask(RegisterDevice(Device(f"controller-{number}", topic=topic)))
        for number, topic in enumerate(topics)
    ]
    assert [isinstance(answer, RequestRefused) for answer in answers] == [True, False, True]
    # Registered again, it keeps its topic.
    assert isinstance(house.ask(RegisterDevice(Device("controller-1", topic="house-lamp"))), DeviceRegistered)
