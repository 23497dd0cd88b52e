"""heart_beat() against a made-up agent; no broker needed."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from sdk.heartbeat import HeartBeat, heart_beat, heart_beat_task, start_heart_beat

WITHIN_S = 15.0


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


class FakeAgent:
    """Takes beats on a port of its own and answers as it is told."""

    def __init__(self) -> None:
        self.status = b"204 No Content"
        #: Bodies of the requests that came.
        self.beats: list[bytes] = []
        self.connections = 0
        #: Answers after which the connection is closed, 0 for never.
        self.close_after = 0
        self.port = 0
        self._server: _Server | None = None
        self._open: set[object] = set()
        self.start()

    def start(self) -> None:
        """Listen, on the same port as before."""
        agent = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                agent._serve(self.request)

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Go away and drop every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self._open):
            connection.shutdown(2)  # type: ignore[attr-defined]

    def has_beaten(self, times: int) -> bool:
        """Whether exactly so many beats came."""
        return len(self.beats) == times

    def _serve(self, connection: object) -> None:
        self.connections += 1
        self._open.add(connection)
        served = 0
        try:
            while request := connection.recv(4_096):  # type: ignore[attr-defined]
                self.beats.append(request.partition(b"\r\n\r\n")[2])
                connection.sendall(b"HTTP/1.1 " + self.status + b"\r\ncontent-length: 0\r\n\r\n")  # type: ignore[attr-defined]
                served += 1
                if served == self.close_after:
                    return
        except OSError:
            return
        finally:
            self._open.discard(connection)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    """An agent, and the environment of an app that it runs."""
    agent = FakeAgent()
    monkeypatch.setenv("WATCHKEEP_AGENT", f"http://127.0.0.1:{agent.port}")
    monkeypatch.setenv("WATCHKEEP_APP_ID", "application-a")
    monkeypatch.setenv("WATCHKEEP_GENERATION", "7")
    yield agent
    agent.stop()


def until(is_so: Callable[[], object]) -> None:
    """Return when the condition holds; fail if it does not come true."""
    end_s = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged."""
    return [record.getMessage() for record in caplog.records]


def test_beats_name_app_and_generation(agent: FakeAgent) -> None:
    """A beat tells the agent which copy it comes from, over one connection."""
    with HeartBeat(every_s=0.01):
        until(lambda: len(agent.beats) >= 3)
    assert set(agent.beats) == {b'["application-a",7]'}
    assert agent.connections == 1


def test_handle_stops(agent: FakeAgent) -> None:
    """After stop() no beat comes any more and the thread is gone."""
    handle = start_heart_beat(every_s=0.01)
    until(lambda: agent.beats)
    handle.stop()
    assert handle._thread is not None
    assert not handle._thread.is_alive()


def test_unwanted_copy_keeps_quiet(agent: FakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """An agent that answers 410 is not asked again; the blocking form returns."""
    agent.status = b"410 Gone"
    heart_beat(every_s=0.01)
    assert len(agent.beats) == 1
    assert len(lines_of(caplog)) == 1


def test_outage_is_said_once_and_ended_at_once(agent: FakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """While the agent is away the program goes on; the newest beat leaves when it is back, logged once each."""
    caplog.set_level(logging.WARNING)
    with HeartBeat(every_s=0.05):
        until(lambda: agent.beats)
        agent.stop()
        until(lambda: lines_of(caplog))
        before = len(agent.beats)
        agent.start()
        until(lambda: len(agent.beats) > before + 1)
    assert ["do not reach" in lines_of(caplog)[0], "again after" in lines_of(caplog)[1]] == [True, True]
    assert len(lines_of(caplog)) == 2


def test_retries_at_once(agent: FakeAgent) -> None:
    """A beat whose connection was closed meanwhile is sent again at once, not with the next."""
    agent.close_after = 1
    handle = HeartBeat(every_s=3_600).start_manual()
    for number in range(1, 4):
        handle.beat()
        until(partial(agent.has_beaten, number))
    handle.stop()
    assert agent.connections == 3


def test_agent_that_refuses_is_tried_again(agent: FakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that makes no sense counts as an outage."""
    agent.status = b"500 Oops"
    with HeartBeat(every_s=0.05):
        until(lambda: len(agent.beats) > 2)
        agent.status = b"204 No Content"
        until(lambda: len(lines_of(caplog)) == 2)


def test_asyncio_block_and_task(agent: FakeAgent) -> None:
    """Both asyncio forms beat and end."""

    async def act() -> None:
        async with HeartBeat(every_s=0.01):
            while len(agent.beats) < 2:
                await asyncio.sleep(0.005)
        seen = len(agent.beats)
        task = asyncio.create_task(heart_beat_task(every_s=0.01))
        while len(agent.beats) < seen + 2:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(act(), WITHIN_S))


def test_hanging_event_loop_does_not_beat(agent: FakeAgent) -> None:
    """The task form beats only while the loop turns."""

    async def act() -> None:
        task = asyncio.create_task(heart_beat_task(every_s=0.01))
        while len(agent.beats) < 2:
            await asyncio.sleep(0.005)
        held = threading.Event()
        # What was asked for before may still be under way; then nothing comes while the loop hangs.
        held.wait(0.2)
        settled = len(agent.beats)
        held.wait(0.2)
        assert len(agent.beats) == settled
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(act(), WITHIN_S))


@pytest.mark.parametrize("name", ["", "camera", "application-", "service-a b", "service-a\n", 'service-"'])
def test_bad_names_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is not named as the contract says is an error of the caller, told at once."""
    monkeypatch.delenv("WATCHKEEP_APP_ID", raising=False)
    with pytest.raises(ValueError, match="expected node-<ip>_<port>"):
        HeartBeat(name)


def test_other_name_inside_an_app_is_said(agent: FakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """Inside a managed app beats go under the name that its agent knows."""
    with HeartBeat("service-x", every_s=0.01):
        until(lambda: agent.beats)
    assert agent.beats[0] == b'["application-a",7]'
    assert "application-a" in lines_of(caplog)[0]


def test_kafka_that_is_away_hurts_nobody() -> None:
    """Outside a managed app, without a broker, starting and stopping are quick and one line is logged."""
    # In a process of its own, because kafka-python leaves sockets that never connected to the collector.
    code = """
import time
from sdk.heartbeat import start_heart_beat
began = time.monotonic()
handle = start_heart_beat("service-x", bootstrap="127.0.0.1:9", every_s=0.1)
print(time.monotonic() - began < 1)
while handle._lost_since_s is None:
    time.sleep(0.01)
began = time.monotonic()
handle.stop()
print(time.monotonic() - began < 2)
"""
    done = run_python(code)
    assert done.stdout.split() == ["True", "True"]
    assert done.stderr.count("\n") == 1
    assert "Kafka at 127.0.0.1:9" in done.stderr


def test_import_is_light() -> None:
    """The module loads nothing heavy, so that an app's first beat leaves soon."""
    loaded = run_python("import sys, sdk.heartbeat; print(*sys.modules)").stdout.split()
    assert not {"asyncio", "kafka", "msgspec", "logging", "socket", "json", "typing", "re"} & set(loaded)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter that finds `sdk`, as a lone source."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WATCHKEEP_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**environment, "PYTHONPATH": "."},
    )
