"""Apps read their sensors by index, wherever they run; values, streams and what can be wrong, on real Kafka."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from sdk import sensors
from sdk.contract.events import SourceFellSilent
from sdk.contract.requests import BindDevice, UnbindDevice
from sdk.contract.specs import AppSpec
from sdk.sensor_errors import NotBoundError, NotYoursError, UnknownAppError
from streams.local.rig import Rig
from tables.registries import node_db
from tables.views import operating_state
from tests.integration.checks import check_end
from tests.integration.conftest import CreateRig
from tests.integration.test_garbage import read_letters

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

APP = "application-reader"
PROGRAM = str(Path(__file__).parent / "apps_reading.py")


@pytest.fixture(scope="module")
def rig(create_rig: CreateRig) -> Rig:
    """A platform with two nodes and four registered sensors."""
    rig = create_rig("sensors")
    rig.start(nodes=2, slots=4)
    for name in ("hall", "yard", "door", "roof"):
        _cli(rig, "register", name, "--type", "thermometer", "--unit", "°C")
    return rig


@pytest.fixture(autouse=True)
def sdk_here(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The SDK in this process talks to the rig's platform."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", rig.bootstrap)
    monkeypatch.setenv("WATCHKEEP_PREFIX", rig.prefix)
    yield
    sensors.close()


def _cli(rig: Rig, *words: str, exit_code: int = 0) -> str:
    return _run(rig, "sensors", *words, exit_code=exit_code)


def _run(rig: Rig, *words: str, exit_code: int = 0) -> str:
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    result = CliRunner().invoke(main, [*words, *where])
    assert result.exit_code == exit_code, result.output
    return str(result.output)


def _say(rig: Rig, sensor: str, *values: Any) -> None:
    topic = f"{rig.prefix}.sensor-{sensor}.v1"
    rig.log.put_many([(topic, json.dumps(value).encode(), None, 0) for value in values])


def _until(look: Any, *, within_s: float = 10.0) -> Any:
    deadline_s = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.02)
    return found


def test_an_app_that_needs_four_sensors_reads_the_same_four_on_its_new_node(rig: Rig, tmp_path: Path) -> None:
    """Bound by id and run on a node, it reads all four; its node is killed, and the new copy goes on with them."""
    names, since = ("hall", "yard", "door", "roof"), rig.log.offset + 1
    for index, name in enumerate(names):
        _cli(rig, "bind", "reader", str(index), name)
        _say(rig, name, {"name": name, "round": 1})
    out = tmp_path / "read.jsonl"
    rig.run_apps([AppSpec(app=APP, command=["python3", PROGRAM, str(out)])])

    def read_by(generation: int) -> list[Any]:
        lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
        return [it["values"] for it in map(json.loads, lines) if it["generation"] == generation]

    killed = rig.state().apps[APP]
    _until(lambda: read_by(killed.generation))
    assert [it["name"] for it in read_by(killed.generation)[-1]] == list(names)
    assert _sensors_of(rig) == [f"sensor-{name}" for name in names]

    rig.kill(rig.app_pid(APP))
    rig.wait(lambda state: state.apps[APP].generation > killed.generation, what="a new copy")
    rig.wait_running([APP])
    first = rig.state().apps[APP]
    _until(lambda: read_by(first.generation))
    assert read_by(first.generation)[0] == read_by(killed.generation)[-1]

    rig.kill(rig.agent_pid(first.node))
    rig.wait(lambda state: state.apps[APP].generation > first.generation, what="a new copy")
    rig.wait_running([APP])
    for name in names:
        _say(rig, name, {"name": name, "round": 2})
    second = rig.state().apps[APP].generation
    _until(lambda: [it for it in read_by(second) if all(value["round"] == 2 for value in it)])
    assert [it["name"] for it in read_by(second)[-1]] == list(names)
    rig.stop_apps([APP])
    check_end(rig, since, touched=[first.node, APP, *rig.state().devices])


def _sensors_of(rig: Rig) -> list[str]:
    """The sensors of the app as the Node DB has them."""
    hosted = (app for node in node_db(rig.state()).nodes for app in node.applications)
    return next(app.sensor_ids for app in hosted if app.application_id == APP)


def test_a_reading_says_how_good_it_is(rig: Rig) -> None:
    """No value yet, then live, then newer; what was bound a moment ago is found."""
    _cli(rig, "register", "new", "--limit-ms", "60000")
    rig.ask(BindDevice("application-q", 0, "sensor-new"))
    assert sensors.read(0, app="application-q").quality == "no-value-yet"

    _say(rig, "new", 1)
    reading = _until(lambda: it if (it := sensors.read(0, app="q")).offset >= 0 else None)
    assert (reading.value, reading.quality, reading.offset) == (1, "live", 0)
    assert 0 <= reading.age_ms < 60_000

    _say(rig, "new", 2)
    rig.log.put(f"{rig.prefix}.sensor-new.v1", b"garbage(")
    assert _until(lambda: it if (it := sensors.read(0, app="q")).value == 2 else None).offset == 1


def test_an_old_value_is_stale_and_a_missing_topic_unreachable(rig: Rig) -> None:
    """These are different things."""
    _cli(rig, "register", "slow", "--limit-ms", "1000")
    _cli(rig, "register", "gone", "--topic", f"{rig.prefix}-nobody-made-this")
    for index, name in enumerate(("slow", "gone")):
        rig.ask(BindDevice("application-s", index, f"sensor-{name}"))
    _say(rig, "slow", 7)
    assert _until(lambda: it if (it := sensors.read(0, app="s")).quality == "stale" else None).value == 7
    assert sensors.read(1, app="s") == (None, 0, 0, "unreachable", -1)


def test_errors_say_which(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unbound index, unknown app, somebody else's sensor."""
    rig.ask(BindDevice("application-e", 3, "sensor-hall"))
    with pytest.raises(NotBoundError, match="application-e has no sensor at index 0; bound: 3"):
        sensors.read(0, app="e")
    with pytest.raises(UnknownAppError, match="application-nobody"):
        sensors.read(0, app="nobody")
    monkeypatch.setenv("WATCHKEEP_APP_ID", "application-mine")
    with pytest.raises(NotYoursError, match="application-mine cannot read the sensors of application-e"):
        sensors.read(3, app="e")
    rig.ask(UnbindDevice("application-e", 3))


def test_a_stream_has_all_values_in_their_order(rig: Rig) -> None:
    """From now, from a time back, and as of a past moment; garbage in between is passed over."""
    _cli(rig, "register", "flow")
    rig.ask(BindDevice("application-f", 0, "sensor-flow"))
    _say(rig, "flow", *range(5))
    rig.log.put(f"{rig.prefix}.sensor-flow.v1", b"\xff")
    _until(lambda: sensors.read(0, app="f").value == 4)
    seen = datetime.now(UTC)
    with sensors.stream(0, 3, app="f") as points:
        _say(rig, "flow", *range(5, 10))
        assert [it.value for it in points] == [5, 6, 7]
    with sensors.stream(0, 10, since=3600.0, app="f") as points:
        assert [it.value for it in points] == list(range(10))
        assert points.cut_off == 0
    with sensors.stream(0, since=3600.0, at=seen, app="f") as points:
        assert [it.value for it in points] == list(range(5))


def test_sensors_are_joined_on_time(rig: Rig) -> None:
    """As they come, and again as of then; who says nothing is missing; rows wait for who is late."""
    for index, name in enumerate(("inner", "outer", "mute")):
        _cli(rig, "register", name)
        rig.ask(BindDevice("application-j", index, f"sensor-{name}"))
    began = datetime.now(UTC)
    with sensors.join([0, 1, 2], tolerance_s=30, patience_s=0.5, n=2, app="j") as rows:
        _say(rig, "outer", "o1")
        _say(rig, "inner", "i1", "i2")
        seen = list(rows)
    assert [row.values for row in seen] == [("i1", "o1", None), ("i2", "o1", None)]

    _say(rig, "mute", "late")
    _say(rig, "inner", "i3")
    over = datetime.now(UTC)
    with sensors.join([0, 2], tolerance_s=30, since=began, at=over, app="j") as rows:
        assert [row.values for row in rows] == [("i1", "late"), ("i2", "late"), ("i3", "late")]

    async def again() -> list[Any]:
        return [
            row.values async for row in sensors.join_async([0, 1], tolerance_s=30, since=began, n=1, app="j")
        ]

    assert asyncio.run(again()) == [("i1", "o1")]
    with pytest.raises(ValueError, match="name each index once"):
        sensors.join([0, 0], app="j")


def test_garbage_of_a_device_becomes_dead_letters_and_the_reader_goes_on(rig: Rig) -> None:
    """With topic, partition, offset and reason; a reader that meets it again says nothing new."""
    _cli(rig, "register", "mad")
    rig.ask(BindDevice("application-g", 0, "sensor-mad"))
    topic = f"{rig.prefix}.sensor-mad.v1"
    for value in (b"1", b"__import__('os')", b"[" * 40, b"2"):
        rig.log.put(topic, value)
    _until(lambda: sensors.read(0, app="g").value == 2)
    with sensors.stream(0, 2, since=3600.0, app="g") as points:
        assert [(it.value, it.offset) for it in points] == [(1, 0), (2, 3)]

    def letters() -> list[Any]:
        return [it for it in read_letters(rig) if it.topic == topic]

    _until(lambda: len(letters()) > 1)
    assert [(it.partition, it.offset, it.reason) for it in letters()] == [
        (0, 1, "\"__import__('os')\" is neither JSON nor a Python literal"),
        (0, 2, "nested deeper than 32"),
    ]


def test_the_silence_of_a_sensor_is_found_shown_and_over(rig: Rig) -> None:
    """By the limit of its type, unless it is disabled; nothing is started again for it."""
    since = rig.log.offset + 1
    _cli(rig, "register", "probe", "--type", "probe")
    assert "silent after 2 s" in _cli(rig, "limits", "set", "probe", "2s")
    assert "probe  2 s    1" in _cli(rig, "limits", "list")

    def works() -> bool:
        # What it said before the worker counted for the first time is no beat.
        _say(rig, "probe", 1)
        return operating_state(rig.state().devices["sensor-probe"]) == "working"

    _until(works)

    rig.wait(lambda state: state.devices["sensor-probe"].silent or None, what="a silence")
    assert _state_of(rig) == "silent"
    assert "sensor-probe" in _run(rig, "monitor", "status", exit_code=4)
    _say(rig, "probe", 2)
    rig.wait(lambda state: not state.devices["sensor-probe"].silent or None, what="its return")
    (silence,) = [fact for _, fact in rig.accepted(SourceFellSilent) if fact.source == "sensor-probe"]
    assert (silence.kind, silence.limit_ms) == ("sensor", 2_000)

    _cli(rig, "disable", "probe")
    assert _state_of(rig) == "disabled"
    rig.ask(BindDevice("application-d", 0, "sensor-probe"))
    assert _until(lambda: sensors.read(0, app="d").quality == "stale")
    assert "sensor-probe" not in rig.state().judged
    _cli(rig, "limits", "set", "probe", "none")
    _cli(rig, "enable", "probe")
    assert _state_of(rig) == "unknown"
    check_end(rig, since, touched=rig.state().devices)


def _state_of(rig: Rig) -> str:
    views = json.loads(_cli(rig, "list", "-o", "json"))
    return str(next(it["state"] for it in views if it["device"] == "sensor-probe"))


def test_the_command_line_shows_what_sensors_say(rig: Rig) -> None:
    """Registered, simulated, read and tailed; what is wrong is one sentence with its exit code."""
    _cli(rig, "register", "sim", "--type", "thermometer", "--unit", "°C")
    assert "5 values written" in _cli(rig, "simulate", "sim", "--every", "0.01", "-n", "5")
    assert "°C" in _cli(rig, "read", "sim")
    assert len(_cli(rig, "tail", "sim", "-n", "3", "--since-s", "3600").splitlines()) == 3
    listed = json.loads(_cli(rig, "list", "-o", "json"))
    assert "sensor-sim" in [it["device"] for it in listed]
    assert "No sensor 'sensor-none'" in _cli(rig, "show", "none", exit_code=3)
    _cli(rig, "retire", "sim")
    assert "sensor-sim" not in _cli(rig, "list")
