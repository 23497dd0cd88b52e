"""Scenario: services that still run the original heartbeat client are watched unchanged."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdk.contract.events import AppPlaced, SourceExpected, SourceFellSilent, SourceReturned
from sdk.contract.requests import ExpectSource, ForgetSource
from sdk.contract.specs import AppSpec
from streams.commands.watching import apply_names, watched_status
from streams.local.broker import LocalBroker
from streams.local.rig import Rig, is_running
from streams.names_files import parse_names
from streams.settings import Settings
from tables.registries import monitoring_db
from tables.state import State
from tests.conftest import create_broker
from tests.integration.checks import check_end
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

_CLIENT = str(Path(__file__).with_name("original_client.py"))
_SERVICE = "service-scheduler"
#: Shorter than in life, so that a test takes less long; workers still beat every 5 s.
_POLICY: dict[str, int | bool | str] = {
    "silence_limit_ms": 7_000,
    "overdue_ms": 3_500,
    "settling_ms": 3_000,
    "settling_in_all_ms": 6_000,
}
_EVERY = ["--every", "1"]


@contextlib.contextmanager
def _client(rig: Rig, topic: str, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A service of that kind, started by somebody else."""
    words = [sys.executable, _CLIENT, rig.bootstrap, topic, *_EVERY, *more]
    process = subprocess.Popen(words)  # our own words
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _spec(rig: Rig, *more: str) -> AppSpec:
    topic = f"{rig.prefix}.scheduler"
    command = ["python3", _CLIENT, rig.bootstrap, topic, *_EVERY, *more]
    return AppSpec(app=_SERVICE, command=command, beats=topic)


def _check_managed(rig: Rig, *more: str) -> None:
    """It runs; hung it is found silent and brought back; killed it is brought back."""
    rig.run_apps([_spec(rig, *more)], within_s=60)
    since = rig.log.offset + 1
    first = rig.state().apps[_SERVICE].generation

    rig.stop(rig.app_pid(_SERVICE))
    rig.wait(lambda _: bool(rig.accepted(SourceFellSilent, since)), within_s=60, what="it found silent")
    hung = rig.wait(lambda state: _successor(state, first), within_s=60, what="a new copy that beats")
    rig.kill(rig.app_pid(_SERVICE))
    rig.wait(lambda state: _successor(state, hung), within_s=60, what="another copy that beats")

    assert [fact.source for _, fact in rig.accepted(SourceFellSilent, since)] == [_SERVICE]
    assert len(rig.accepted(AppPlaced, since)) == 2
    assert rig.state().apps[_SERVICE].failures == 2


def _successor(state: State, generation: int) -> int:
    now = state.apps[_SERVICE].generation
    return now if now > generation and is_running(state, _SERVICE) else 0


def _status(state: State, source: str) -> str:
    row = state.sources.get(source)
    return "" if row is None else watched_status(row)


def _apply(rig: Rig, text: str) -> None:
    settings = Settings(bootstrap_servers=rig.bootstrap, prefix=rig.prefix)
    names = parse_names(text, file="service names.txt")
    asyncio.run(apply_names(settings, names, file="service names.txt", dry_run=False, timeout_s=30))


def test_a_managed_service_with_the_original_client_is_found_silent_and_restarted(
    create_rig: CreateRig,
) -> None:
    """Hung or killed, it comes back like any other; a payload is a payload."""
    rig = create_rig("original")
    rig.start(workers=1, nodes=2, policy=_POLICY)
    since = rig.log.offset + 1

    _check_managed(rig, "--payload", "HeartBeat")

    check_end(rig, since, touched=[_SERVICE])


def test_services_named_in_a_plain_file_are_watched_and_announced(
    create_rig: CreateRig, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that never beats is announced once; one that stops is, and is back when it beats; nothing is restarted."""
    rig = create_rig("names")
    rig.start(workers=2, nodes=1, policy=_POLICY)
    since = rig.log.offset + 1
    topic = f"{rig.prefix}.deployer"
    file = f"never\ndeployer {topic}\n"

    _apply(rig, file)
    with _client(rig, topic):
        rig.wait(
            lambda state: _status(state, "service-deployer") == "running",
            within_s=60,
            what="the deployer heard",
        )
        rig.wait(
            lambda state: _status(state, "service-never") == "silent", within_s=60, what="the other announced"
        )
        # Who leads bridges: another has to go on with it, and nobody is accused for that.
        rig.kill(rig.worker_pid(before := rig.leader()))
        rig.wait(lambda state: state.term.writer.split("/")[1] != before, within_s=60, what="another leader")
        rig.wait_time(10.0, what="more than the limit")
        assert _status(rig.state(), "service-deployer") == "running"
        announced = [fact.source for _, fact in rig.accepted(SourceFellSilent, since)]
        assert [source for source in announced if "worker" not in source] == ["service-never"]
    rig.wait(lambda state: _status(state, "service-deployer") == "silent", within_s=60, what="its silence")
    with _client(rig, topic):
        rig.wait(
            lambda state: _status(state, "service-deployer") == "running", within_s=60, what="its return"
        )
    known = {entry.application_id: entry for entry in monitoring_db(rig.state()).applications}
    assert known["service-never"].status == 0
    assert known["service-deployer"].failure_count == 1
    expected = len(rig.accepted(SourceExpected))

    _apply(rig, file)

    assert "Nothing to do" in capsys.readouterr().err
    assert len(rig.accepted(SourceExpected)) == expected == 2
    assert rig.accepted(AppPlaced, since) == []
    assert [fact.source for _, fact in rig.accepted(SourceReturned, since) if fact.expectation] == [
        "service-deployer",
        "service-deployer",
    ]
    rig.ask(ForgetSource("service-never"))
    workers = [f"service-{name}" for name in rig.workers]
    check_end(rig, since, touched=["service-never", "service-deployer", *workers])


def test_original_clients_of_an_old_kafka(folder: Path) -> None:
    """With `api_version=(0, 10, 1)` against a 3.9 broker, run by a node and not."""
    broker: LocalBroker = create_broker(folder / "kafka", "3.9.1")
    with Rig(folder, broker=broker) as rig:
        rig.start(workers=1, nodes=2, policy=_POLICY)
        since = rig.log.offset + 1
        old = ["--api-version", "0.10.1"]

        _check_managed(rig, *old)
        rig.ask(ExpectSource("service-deployer"))
        with _client(rig, "deployer", *old):
            rig.wait(
                lambda state: _status(state, "service-deployer") == "running",
                within_s=60,
                what="the deployer heard",
            )
        rig.wait(
            lambda state: _status(state, "service-deployer") == "silent", within_s=60, what="its silence"
        )

        check_end(rig, since, touched=[_SERVICE, "service-deployer"])
