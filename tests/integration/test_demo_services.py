"""The sample services of the demo: they run, say something true, and come back from their init configuration."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from sdk.contract.events import AppPlaced
from streams.demo_sensors import read_catalogue
from streams.local.rig import Rig, is_running
from streams.render import service_views
from streams.seeding import EXAMPLES, list_examples, seed
from streams.settings import PROJECT_ROOT, Settings
from streams.spec_files import load_specs
from tables.registries import monitoring_db
from tables.state import State
from tables.views import operating_state
from tests.integration.checks import check_end
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

SPECS = load_specs(EXAMPLES[1]).specs
NAMES = [spec.app for spec in SPECS]
#: What each of them prints once it has looked at a platform of three nodes.
WORDS = {
    "service-scheduler": "lights: every 20 s",
    "service-sensor-manager": "temperature-kitchen: application-thermostat-kitchen on node-127.0.0.1_",
    "service-load-balancer": "fullest over mean",
    "service-deployer": "active: 127.0.0.1 ",
    "service-application-manager": "applications run",
    "service-node-manager": "3 nodes, ",
}


@pytest.fixture(scope="module")
def rig(create_rig: CreateRig) -> Rig:
    """Return a platform that runs the demo, asked for as `up --demo` asks."""
    rig = create_rig("demo")
    rig.start(workers=1, nodes=3, slots=6)
    ask_for_demo(rig)
    rig.wait_running([spec.app for spec in list_examples()], within_s=40)
    return rig


def ask_for_demo(rig: Rig) -> list[str]:
    """What the seeds of the demo ask for."""
    return asyncio.run(seed(Settings(bootstrap_servers=rig.bootstrap, prefix=rig.prefix), demo=True))


def log_of(rig: Rig, app: str) -> str:
    """What all copies of an app have printed, wherever they ran."""
    files = Path(rig.folder / "nodes").glob(f"*/logs/{app}.log")
    return "".join(file.read_text(encoding="utf-8") for file in files)


def test_demo_is_asked_for_once(rig: Rig) -> None:
    """Everything runs, each as its file has it; asked again, nothing is new."""
    state = rig.state()

    assert {app: row.spec for app, row in state.apps.items()} == {spec.app: spec for spec in list_examples()}
    assert ask_for_demo(rig) == []


def test_applications_read_the_sensors_of_the_demo(rig: Rig) -> None:
    """Bound by what `up` asks for, and made up by the program that it runs: all of them work, and are read."""
    command = [sys.executable, "-m", "streams.demo_sensors"]
    where = {"KAFKA_BOOTSTRAP_SERVERS": rig.bootstrap, "WATCHKEEP_PREFIX": rig.prefix}
    with subprocess.Popen(command, env=os.environ | where, cwd=PROJECT_ROOT) as devices:
        try:
            rig.wait(lambda state: all_work(state) or None, within_s=60, what="all sensors working")
            says(rig, "application-thermostat-hall", "degrees, heating")
            says(rig, "application-camera-gate", "movements")
        finally:
            devices.terminate()


def says(rig: Rig, app: str, words: str) -> None:
    """Wait until an app has printed these words."""
    rig.wait(lambda _: words in log_of(rig, app), within_s=60, what=f"{words!r} printed")


def all_work(state: State) -> bool:
    """Whether every sensor of the catalogue works as far as the log knows."""
    devices = [sensor.device.device for sensor in read_catalogue().sensor]
    return all(operating_state(state.devices[device]) == "working" for device in devices)


@pytest.mark.parametrize("service", NAMES)
def test_service_says_what_it_sees(rig: Rig, service: str) -> None:
    """Each of them finds the platform without arguments and prints how it stands."""
    rig.wait(
        lambda _: WORDS[service] in log_of(rig, service), within_s=30, what=f"{WORDS[service]!r} printed"
    )


def test_killed_services_come_back_from_their_init_configuration(rig: Rig) -> None:
    """All at once: each runs again in its next generation, by the command of the file, and one failure counts."""
    rig.wait_running(NAMES)
    before, since = rig.state(), rig.log.offset + 1
    pids = {app: rig.app_pid(app) for app in NAMES}

    for pid in pids.values():
        rig.kill(pid)

    rig.wait(
        lambda state: all(
            state.apps[app].generation > before.apps[app].generation and is_running(state, app)
            for app in NAMES
        ),
        within_s=40,
        what="all services back",
    )
    after = rig.state()
    assert {placed.app for _, placed in rig.accepted(AppPlaced, since)} == set(NAMES)
    assert [after.apps[app].placed_spec or after.apps[app].spec for app in NAMES] == SPECS
    assert [after.apps[app].failures - before.apps[app].failures for app in NAMES] == [1] * len(NAMES)
    assert {rig.app_pid(app) for app in NAMES}.isdisjoint(pids.values())
    check_end(rig, since, touched=[*NAMES, *rig.state().devices])


def test_workers_and_provisioners_are_among_the_services(rig: Rig) -> None:
    """Both registries of services name the six, the worker and the provisioner, alive and with their failures."""
    rig.wait(lambda state: "service-worker-1" in state.sources, what="the worker's beat on the log")
    state = rig.state()

    shown = {
        view["app"]: (view["alive"], view["failure_count"]) for view in service_views(state, stopped=False)
    }
    listed = {it.application_id: (it.status, it.failure_count) for it in monitoring_db(state).applications}

    assert set(shown) == {*NAMES, "service-worker-1", "pool-local"}
    assert shown["service-worker-1"] == (1, 0)
    assert shown["pool-local"] == (1, state.pools["pool-local"].failures)
    assert shown.items() <= listed.items()
    assert set(listed) == {*shown, *(spec.app for spec in load_specs(EXAMPLES[0]).specs)}
    assert set(msgspec.to_builtins(monitoring_db(state))) == {"nodes", "applications"}


def test_provisioner_that_hangs_is_silent_and_counted_once(rig: Rig) -> None:
    """A stopped provisioner is found and listed with status 0; continued it is back, with one failure."""
    assert rig.provisioner is not None
    failures, since = rig.state().pools["pool-local"].failures, rig.log.offset + 1

    rig.stop(rig.provisioner.pid)
    rig.wait(lambda state: state.pools["pool-local"].silent, within_s=30, what="the provisioner found silent")
    silent = {view["app"]: view for view in service_views(rig.state(), stopped=False)}["pool-local"]
    rig.cont(rig.provisioner.pid)
    rig.wait(lambda state: not state.pools["pool-local"].silent, what="the provisioner back")

    assert (silent["status"], silent["alive"], silent["failure_count"]) == ("silent", 0, failures + 1)
    assert rig.state().pools["pool-local"].failures == failures + 1
    check_end(rig, since, touched=["pool-local", *rig.state().devices])
