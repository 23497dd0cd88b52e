"""Apps drive controllers: done, rejected, expired, kept while Kafka or the device is away, and never done twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner

from cli import main
from sdk import controllers
from sdk.contract.codec import encode_request
from sdk.contract.devices import Device
from sdk.contract.events import ControllerSetRequested
from sdk.contract.requests import BindDevice, RegisterDevice, SetController
from sdk.contract.specs import AppSpec
from sdk.controller_errors import CommandRejectedError
from sdk.sensor_errors import NotBoundError, NotYoursError
from streams.controller_topics import topic_fault
from streams.local.rig import Rig
from tests.integration.checks import check_end

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

APP = "application-driver"
DRIVER = str(Path(__file__).parent / "apps_driving.py")
LAMP = str(Path(__file__).parents[2] / "examples" / "lamp" / "device.py")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A platform on a broker of its own, with two registered lamps of which an app has the first."""
    with Rig(tmp_path_factory.mktemp("controllers")) as rig:
        rig.start(nodes=1)
        for name in ("lamp", "far"):
            _cli(rig, "register", name, "--type", "lamp")
        _cli(rig, "bind", "driver", "0", "lamp")
        rig.ask(BindDevice(APP, 1, "controller-far"))
        yield rig


@pytest.fixture(autouse=True)
def sdk_here(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The SDK in this process talks to the rig's platform."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", rig.bootstrap)
    monkeypatch.setenv("WATCHKEEP_PREFIX", rig.prefix)
    yield
    controllers.close(0.0)


class Lamp:
    """A device program, and what it did."""

    def __init__(self, rig: Rig, name: str, folder: Path) -> None:
        self.log = folder / f"{name}.log"
        self._env = {
            **os.environ,
            "PYTHONPATH": str(Path(LAMP).parents[2]),
            "KAFKA_BOOTSTRAP_SERVERS": rig.bootstrap,
            "WATCHKEEP_PREFIX": rig.prefix,
        }
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen([sys.executable, LAMP, self._name], env=self._env, stdout=out)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def levels(self) -> list[int]:
        """The levels that it was switched to, in order."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [int(line.split()[-2]) for line in lines]


def _cli(rig: Rig, *words: str, exit_code: int = 0) -> str:
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    result = CliRunner().invoke(main, ["controllers", *words, *where])
    assert result.exit_code == exit_code, result.output
    return str(result.output)


def _until(look: Any, *, within_s: float = 20.0) -> Any:
    deadline_s = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.02)
    return found


def test_a_command_is_done_or_rejected_and_both_say_so(rig: Rig, tmp_path: Path) -> None:
    """What the lamp does it reports, what it cannot do it refuses with its reason; people see both."""
    with Lamp(rig, "lamp", tmp_path) as lamp:
        handle = controllers.set(0, {"on": True, "level": 7}, app="driver")
        assert handle.state in ("pending", "done")
        assert handle.result() == {"on": True, "level": 7}

        refused = controllers.set(0, {"on": "perhaps"}, app="driver")
        assert refused.wait() == "rejected"
        with pytest.raises(CommandRejectedError, match="a lamp wants"):
            refused.result()

        said = _cli(rig, "set", "lamp", '{"on": true, "level": 8}')
        assert said == 'controller-lamp did it and reports {"on": true, "level": 8}.\n'
        assert "no JSON" in _cli(rig, "set", "lamp", "on", exit_code=1)
        assert lamp.levels() == [7, 8]
    shown = json.loads(_cli(rig, "show", "lamp", "-o", "json"))
    assert (shown["state"], shown["bound_to"]) == ("done", [f"{APP}[0]"])


def test_a_controller_that_a_program_registered_gets_its_topic_from_the_leader(
    rig: Rig, tmp_path: Path
) -> None:
    """Compacted, as the command line makes them; the device waits for it."""
    with Lamp(rig, "plain", tmp_path) as lamp:
        rig.ask(RegisterDevice(Device("controller-plain", "lamp")))
        assert "did it" in _cli(rig, "set", "plain", '{"on": true, "level": 9}')
        assert lamp.levels() == [9]
    assert topic_fault(rig.bootstrap, f"{rig.prefix}.controller-plain.v1") == ""
    assert "is not compacted" in _cli(
        rig, "register", "odd", "--topic", f"{rig.prefix}.requests.v1", exit_code=1
    )


def test_what_an_app_may_not_set_is_an_error_that_says_which(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index with nothing bound, a stale generation, somebody else's."""
    with pytest.raises(NotBoundError, match=f"{APP} has no controller at index 5; bound: 0, 1"):
        controllers.set(5, 1, app="driver").result()
    monkeypatch.setenv("WATCHKEEP_APP_ID", APP)
    monkeypatch.setenv("WATCHKEEP_GENERATION", "3")
    stale = controllers.set(0, {"on": True})
    assert stale.wait() == "rejected"
    # Which one is in force depends on whether the app ran before this.
    assert stale.reason.startswith(f"generation 3 of {APP} is not in force, ")
    with pytest.raises(NotYoursError, match=f"{APP} cannot set the controllers of application-other"):
        controllers.set(0, 1, app="other")


def test_a_command_waits_for_its_device_and_is_withdrawn_when_its_time_is_over(
    rig: Rig, tmp_path: Path
) -> None:
    """The device that comes back in time does it once; the one that comes later does nothing, nor again after that."""
    late = controllers.set(1, {"on": True, "level": 1}, 1.0, app="driver")
    assert late.wait(20.0) == "expired"
    with Lamp(rig, "far", tmp_path) as lamp:
        handle = controllers.set(1, {"on": True, "level": 2}, app="driver")
        assert handle.wait() == "done"
    in_time = controllers.set(1, {"on": True, "level": 3}, app="driver")
    rig.wait(lambda state: in_time.command in state.commands or None, what="the command on the log")
    superseded = in_time
    newest = controllers.set(1, {"on": True, "level": 4}, app="driver")
    assert superseded.wait(20.0) == "rejected"
    assert superseded.reason == f"superseded by command {newest.command}"
    with lamp:
        assert newest.wait() == "done"
    with lamp:
        assert controllers.set(1, {"on": True, "level": 5}, app="driver").wait() == "done"
        assert lamp.levels() == [2, 4, 5]


def test_what_is_asked_during_an_outage_arrives_once(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is not held up; a request that comes twice is one command; a new leader does nothing again."""
    assert rig.broker is not None
    with Lamp(rig, "lamp", tmp_path) as lamp:
        assert controllers.set(0, {"on": True, "level": 20}, app="driver").wait() == "done"
        rig.broker.pause()
        began_s = time.monotonic()
        handle = controllers.set(0, {"on": True, "level": 21}, 60.0, app="driver")
        held_s = time.monotonic() - began_s
        assert handle.state == "pending"
        # A broker that stood still also takes what was given up meanwhile: the request comes twice.
        _until(lambda: "does not take letters" in caplog.text)
        rig.broker.resume()
        assert handle.wait(60.0) == "done", handle
        # The promise is 1 ms; this machine may be busy.
        assert held_s < 0.05

        wish = SetController('{"on":true,"level":22}', 30_000, APP, 0)
        again = encode_request(wish, request_id="twice", asker="test", at_ms=0)
        for _ in range(2):
            rig.log.put(rig.topics.requests, again, key=b"twice")
        rig.wait(lambda state: state.commands["twice"].phase == "done" if "twice" in state.commands else None)
        rig.kill(rig.worker_pid(rig.leader()))
        assert controllers.set(0, {"on": True, "level": 23}, app="driver").wait() == "done"
        assert lamp.levels() == [20, 21, 22, 23]
    asked = [event for _, event in rig.accepted(ControllerSetRequested) if '"level":21' in event.value]
    assert len(asked) == 1


def test_an_app_that_is_killed_between_two_sets_has_each_done_once(rig: Rig, tmp_path: Path) -> None:
    """Its next copy repeats what it is not sure of under the same id; the old generation is refused from then on."""
    with Lamp(rig, "lamp", tmp_path) as lamp:
        rig.run_apps([AppSpec(app=APP, command=["python3", DRIVER, str(tmp_path / "notes")])])
        for done in (4, 10):
            before = rig.state().apps[APP].generation
            _until(lambda least=done: len(lamp.levels()) >= least)
            rig.kill(rig.app_pid(APP))
            _until(lambda old=before: rig.state().apps[APP].generation > old)
        _until(lambda: 0 in lamp.levels()[1:], within_s=60.0)
        levels = lamp.levels()
        assert levels == [*range(20), 0]
    rig.stop_apps([APP])
    # The leader that was killed is missed, as a service, until it is back.
    check_end(rig, 0, touched=[APP, *(f"service-{name}" for name in rig.workers)])
