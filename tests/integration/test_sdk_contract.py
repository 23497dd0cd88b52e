"""The SDK keeps its contract on a real Kafka with a real platform; SIGTERM ends an app whose agent wants it to end."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from sdk import controllers, notifications, sensors
from sdk.contract.events import AppExited
from sdk.contract.heartbeats import Beat
from sdk.contract.specs import AppSpec
from streams.local.rig import Rig
from tests.sdk.contract_sdk import SdkContract

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(240),
    # kafka-python leaves the sockets of refused connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


class KafkaWorld:
    """The contract's world, for real."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._over = threading.Event()
        self._devices: list[threading.Thread] = []

    def sensor(self, name: str, *, app: str, index: int) -> Callable[[bytes], object]:
        """Register and bind."""
        self._register("sensors", name, app, index)
        return lambda value: self._rig.log.put(f"{self._rig.prefix}.sensor-{name}.v1", value)

    def controller(self, name: str, handler: Callable[[Any], Any] | None, *, app: str, index: int) -> None:
        """Register and bind."""
        self._register("controllers", name, app, index)
        if handler is not None:
            serve = threading.Thread(
                target=controllers.serve, args=(name, handler), kwargs={"until": self._over}, daemon=True
            )
            serve.start()
            self._devices.append(serve)

    @contextmanager
    def environment(self, app: str, *, generation: int) -> Iterator[None]:
        """Of a copy that nobody placed."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WATCHKEEP_APP_ID", f"application-{app}")
            patch.setenv("WATCHKEEP_GENERATION", str(generation))
            yield

    def told(self, app: str) -> dict[str, tuple[str, str, int]]:
        """By key, from the fold."""
        rows = self._rig.state().notifications.values()
        return {it.key: (it.text, it.severity, it.count) for it in rows if it.app == f"application-{app}"}

    def beats(self, app: str) -> int:
        """Of that source."""
        heard = (it.said for it in self._rig.reports())
        return sum(isinstance(said, Beat) and said.source == app for said in heard)

    def close(self) -> None:
        """End the devices."""
        self._over.set()
        for thread in self._devices:
            thread.join(10.0)

    def _register(self, kind: str, name: str, app: str, index: int) -> None:
        for words in (["register", name], ["bind", app, str(index), name]):
            where = ["--bootstrap-servers", self._rig.bootstrap, "--prefix", self._rig.prefix]
            result = CliRunner().invoke(main, [kind, *words, *where])
            assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A platform with a broker of its own."""
    with Rig(tmp_path_factory.mktemp("sdk-contract")) as rig:
        rig.start(workers=1, nodes=1)
        yield rig
    with warnings.catch_warnings():
        # The same once more: no test after this module is to be blamed for them.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def world(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaWorld]:
    """The SDK in this process talks to the rig's platform."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", rig.bootstrap)
    monkeypatch.setenv("WATCHKEEP_PREFIX", rig.prefix)
    world = KafkaWorld(rig)
    yield world
    world.close()
    notifications.close(0.0)
    controllers.close(0.0)
    sensors.close()


class TestContractOnKafka(SdkContract):
    """The same tests as in memory."""


def test_a_stopped_app_has_its_last_word_and_ends_in_order(rig: Rig) -> None:
    """SIGTERM of the agent ends the block, what it says then is delivered, and it exits with 0."""
    name = "application-tied"
    rig.run_apps([AppSpec(app=name, command=["python3", str(Path(__file__).parent / "apps_tied.py")])])
    generation = rig.state().apps[name].generation
    rig.wait(lambda state: f"{name}/hello" in state.notifications, what="its first word")
    rig.stop_apps([name])
    told = rig.wait(lambda state: state.notifications.get(f"{name}/goodbye"), what="its last word")
    assert told.text == "that was all"
    assert rig.state().notifications[f"{name}/hello"].text == f"generation {generation} is here"
    assert [it.exit_code for _, it in rig.accepted(AppExited) if it.app == name] == [0]
