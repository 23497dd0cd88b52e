"""Apps read their sensors by index, wherever they run; values, streams and what can be wrong, on real Kafka."""

from __future__ import annotations

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
from sdk.contract.requests import BindDevice, UnbindDevice
from sdk.contract.specs import AppSpec
from sdk.sensor_errors import NotBoundError, NotYoursError, UnknownAppError
from streams.local.rig import Rig
from tests.integration.checks import check_end
from tests.integration.conftest import CreateRig

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
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    result = CliRunner().invoke(main, ["sensors", *words, *where])
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
    names = ("hall", "yard", "door", "roof")
    for index, name in enumerate(names):
        _cli(rig, "bind", "reader", str(index), name)
        _say(rig, name, {"name": name, "round": 1})
    out = tmp_path / "read.jsonl"
    rig.run_apps([AppSpec(app=APP, command=["python3", PROGRAM, str(out)])])

    def read_by(generation: int) -> list[Any]:
        lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
        return [it["values"] for it in map(json.loads, lines) if it["generation"] == generation]

    first = rig.state().apps[APP]
    _until(lambda: read_by(first.generation))
    assert [it["name"] for it in read_by(first.generation)[-1]] == list(names)

    rig.kill(rig.agent_pid(first.node))
    rig.wait(lambda state: state.apps[APP].generation > first.generation, what="a new copy")
    rig.wait_running([APP])
    for name in names:
        _say(rig, name, {"name": name, "round": 2})
    second = rig.state().apps[APP].generation
    _until(lambda: [it for it in read_by(second) if all(value["round"] == 2 for value in it)])
    assert [it["name"] for it in read_by(second)[-1]] == list(names)
    rig.stop_apps([APP])
    check_end(rig, 0, touched=[first.node, APP])


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
