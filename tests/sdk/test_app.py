"""`sdk.App` as a block of code: names, how it ends, and what an import of the SDK costs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sdk import App, notifications, testing

pytest_plugins = ["sdk.testing.plugin"]


def test_importing_the_sdk_loads_nothing_else() -> None:
    """No client, no codec, no thread: each part comes when it is asked for."""
    code = (
        "import json, sys, threading\n"
        "before = set(sys.modules)\n"
        "import sdk\n"
        "print(json.dumps([sorted(set(sys.modules) - before), threading.active_count()]))\n"
        "from sdk import App\n"
        "assert not {'kafka', 'msgspec', 'asyncio', 'aiokafka'} & set(sys.modules), 'too much'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [["sdk"], 1]


def test_unknown_names_of_the_package_are_errors() -> None:
    """As of any module."""
    import sdk

    with pytest.raises(AttributeError, match="made_up"):
        _ = sdk.made_up


@pytest.mark.parametrize("name", [None, "", "application-", "two words"])
def test_a_program_that_nobody_runs_must_name_itself(platform: testing.Platform, name: str | None) -> None:
    """And properly."""
    with pytest.raises(ValueError, match="name"):
        App(name)
    assert platform.beats == []


def test_inside_a_managed_app_name_and_generation_come_from_the_environment(
    platform: testing.Platform,
) -> None:
    """Its own name may be given, another may not."""
    with platform.managed("heating", generation=12):
        app = App()
        assert (app.name, app.generation, App("heating").name) == (
            "application-heating",
            12,
            "application-heating",
        )
        with pytest.raises(ValueError, match="cannot be application-other"):
            App("other")


def test_sigterm_ends_the_block_and_the_program_goes_on(platform: testing.Platform) -> None:
    """Wherever it stands; the last word is delivered, and SIGTERM means what it meant before."""
    before = signal.getsignal(signal.SIGTERM)
    with App("heating") as app:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            app.notify("goodbye")
    assert not app.running
    assert [told.text for told in platform.notifications] == ["goodbye"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_of_the_block_goes_on(platform: testing.Platform) -> None:
    """After the goodbye."""
    with pytest.raises(ZeroDivisionError), App("heating") as app:  # noqa: PT012 - what was said before it
        app.notify("about to fail")
        _ = 1 // 0
    assert len(platform.notifications) == 1


def test_stop_ends_a_sleep(platform: testing.Platform) -> None:
    """From another thread; also where no signal can be taken."""
    ended: list[bool] = []

    def work() -> None:
        with App("heating") as app:
            threading.Timer(0.05, app.stop).start()
            ended.append(app.sleep(60))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20.0)
    assert ended == [False]
    assert platform.wait_for(lambda: platform.beats)


def test_sigterm_cancels_the_task_in_an_async_block(platform: testing.Platform) -> None:
    """What follows the block runs, and is not cancelled."""

    async def main() -> str:
        async with App("heating") as app:
            app.notify("hello")
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        return "after"

    assert asyncio.run(main()) == "after"
    assert len(platform.notifications) == 1


def test_a_cancellation_of_somebody_else_goes_on(platform: testing.Platform) -> None:
    """Only that of SIGTERM is taken back."""

    async def inner() -> None:
        async with App("heating"):
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(inner())
        platform_heard = asyncio.to_thread(platform.wait_for, lambda: platform.beats)
        await platform_heard
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_a_goodbye_without_kafka_is_short(platform: testing.Platform) -> None:
    """Shorter than the 5 s that an agent waits before it kills."""
    with platform.outage():
        began_s = time.monotonic()
        with App("heating") as app:
            app.notify("nobody hears")
            assert notifications.waiting() == 1
        assert time.monotonic() - began_s < 5.0
