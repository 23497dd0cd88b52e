"""Calls to a cloud: a connection for each thread, bounds on number and time, and pauses between tries."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents.cloud_calls import CALLS_MAX, RETRY_AFTER_S_MAX, THREADS, TRIES_MAX, CloudCalls
from agents.machines import CloudAwayError, CloudError
from agents.spawner import ROOT
from tests.agents.waiting import until


class Connection:
    """Stands for a connection to a cloud; a call says what it does with it."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()


def play(act: Callable[[CloudCalls, list[Connection]], Awaitable[None]], **settings: Any) -> None:
    """Run `act` with fresh calls and the connections that they made."""
    made: list[Connection] = []

    def connect() -> Any:
        made.append(Connection())
        return made[-1]

    async def run() -> None:
        calls = CloudCalls(connect, **{"first_pause_s": 0.001, **settings})
        try:
            await act(calls, made)
        finally:
            calls.close()

    asyncio.run(run())


def test_each_thread_has_a_connection_of_its_own() -> None:
    """Libcloud keeps a request's state in the connection; no call ever sees another thread's."""
    together = threading.Barrier(THREADS)

    def use(connection: Any) -> bool:
        together.wait(20.0)
        return bool(connection.thread == threading.get_ident())

    async def act(calls: CloudCalls, made: list[Connection]) -> None:
        for _ in range(2):
            assert all(await asyncio.gather(*(calls.call(use, 20.0) for _ in range(THREADS))))
        assert len(made) == THREADS

    play(act)


def test_number_of_waiting_calls_is_bounded() -> None:
    """What comes on top fails at once instead of waiting behind a cloud that hangs."""
    free = threading.Event()

    async def act(calls: CloudCalls, made: list[Connection]) -> None:
        waiting = [
            asyncio.ensure_future(calls.call(lambda _: free.wait(20.0), 20.0)) for _ in range(CALLS_MAX)
        ]
        await until(lambda: len(calls._under_way) == CALLS_MAX)
        with pytest.raises(CloudAwayError, match=f"{CALLS_MAX} calls wait for it"):
            await calls.call(lambda _: True, 20.0)
        free.set()
        assert all(await asyncio.gather(*waiting))
        assert await calls.call(lambda _: True, 20.0)

    play(act)


def test_refused_call_is_made_once() -> None:
    """What the cloud refuses it refuses again."""
    tries: list[int] = []

    def refuse(_: Any) -> None:
        tries.append(1)
        raise CloudError("forbidden")

    async def act(calls: CloudCalls, made: list[Connection]) -> None:
        with pytest.raises(CloudError, match="forbidden"):
            await calls.call(refuse, 20.0)

    play(act)
    assert len(tries) == 1


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (0.0, [1.0, 2.0, 4.0, 8.0]),
        (3.0, [3.0, 3.0, 4.0, 8.0]),
        (10_000.0, [RETRY_AFTER_S_MAX] * 4),
    ],
)
def test_pauses_double_and_heed_what_the_cloud_asks(
    monkeypatch: pytest.MonkeyPatch, asked: float, expected: list[float]
) -> None:
    """At most five tries; the cloud's own wish counts up to a minute."""
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    tries: list[int] = []

    def be_busy(_: Any) -> None:
        tries.append(1)
        raise CloudAwayError("busy", asked)

    async def act(calls: CloudCalls, made: list[Connection]) -> None:
        with pytest.raises(CloudAwayError):
            await calls.call(be_busy, 1_000.0)

    play(act, first_pause_s=1.0)
    assert pauses == expected
    assert len(tries) == TRIES_MAX


def test_no_try_begins_that_could_not_end_in_time() -> None:
    """A pause that reaches beyond the bound is not waited for."""

    def be_busy(_: Any) -> None:
        raise CloudAwayError("busy", 30.0)

    async def act(calls: CloudCalls, made: list[Connection]) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with pytest.raises(CloudAwayError, match="busy"):
            await calls.call(be_busy, 20.0)
        assert loop.time() - began_s < 20.0

    play(act)


def test_log_says_once_that_the_cloud_is_away_and_back(caplog: pytest.LogCaptureFixture) -> None:
    """Two lines, however often it was asked between."""
    caplog.set_level(logging.WARNING)

    def be_away(_: Any) -> None:
        raise CloudAwayError("connection refused")

    async def act(calls: CloudCalls, made: list[Connection]) -> None:
        for _ in range(3):
            with pytest.raises(CloudAwayError):
                await calls.call(be_away, 20.0)
        for _ in range(3):
            await calls.call(lambda _: True, 20.0)

    play(act)
    assert [it.getMessage() for it in caplog.records] == [
        "the cloud does not answer: connection refused",
        "the cloud answers again",
    ]


def test_login_that_fails_is_tried_again() -> None:
    """A connection that could not be made is no connection: the next call makes one."""
    tries: list[int] = []

    def connect() -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise CloudAwayError("login timed out")
        return Connection()

    async def run() -> None:
        calls = CloudCalls(connect, first_pause_s=0.001)
        assert await calls.call(lambda _: True, 20.0)
        calls.close()

    asyncio.run(run())
    assert len(tries) == 2


def test_call_that_hangs_does_not_keep_the_process() -> None:
    """The provisioner ends although the cloud still says nothing."""
    program = (
        "import asyncio, threading\n"
        "from agents.cloud_calls import CloudCalls\n"
        "from agents.machines import CloudAwayError\n"
        "async def run():\n"
        "    calls = CloudCalls(object)\n"
        "    try:\n"
        "        await calls.call(lambda _: threading.Event().wait(), 0.05)\n"
        "    except CloudAwayError as error:\n"
        "        print(error)\n"
        "asyncio.run(run())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert "did not answer within 0.05 s" in done.stdout
