"""The tutorial's code runs, against the platform in memory, and the reference is what the docstrings say."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sdk import testing
from tests.docs import sdk_reference
from tests.docs.pages import read

_BLOCK = re.compile(r"^```python (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = _BLOCK.findall(read("docs/sdk/tutorial.md"))


def blocks(kind: str) -> list[str]:
    """The tutorial's blocks of a kind."""
    return [text for name, text in BLOCKS if name == kind]


def run(code: str) -> dict[str, Any]:
    """Run a block; what it defined."""
    names: dict[str, Any] = {}
    exec(compile(code, "tutorial", "exec"), names)  # noqa: S102 - our own page
    return names


def until_told_then_stopped(
    platform: testing.Platform, sensor: testing.Sensor, value: float
) -> threading.Thread:
    """Writes until people are told, then sends this process the SIGTERM that an agent sends."""

    def drive() -> None:
        def is_told() -> bool:
            sensor.write(value)
            return bool(platform.notifications)

        platform.wait_for(is_told, 20.0)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=drive)
    thread.start()
    return thread


def check_driven(work: Callable[[], object], *, value: float) -> None:
    """An app that is run so tells people once, and its block ends without an error."""
    with testing.Platform() as platform:
        hall = platform.sensor("hall")
        platform.bind("heating", 0, hall)
        with platform.managed("heating", generation=12):
            thread = until_told_then_stopped(platform, hall, value)
            work()
            thread.join(20.0)
        (told,) = platform.notifications
        assert (told.app, told.key) == ("application-heating", "heat")
        assert platform.beats


@pytest.mark.parametrize("code", blocks("test"), ids=range(len(blocks("test"))))
def test_block_of_the_tutorial_runs(code: str) -> None:
    """What it asserts holds."""
    run(code)


def test_apps_of_the_tutorial_work_until_they_are_stopped() -> None:
    """The five lines, word for word."""
    for code in blocks("app"):
        check_driven(lambda code=code: run(code), value=31.0)  # type: ignore[misc]


def test_async_apps_of_the_tutorial_work_until_they_are_stopped() -> None:
    """The same with an event loop."""
    for code in blocks("async"):
        main = run(code)["main"]
        check_driven(lambda main=main: asyncio.run(main()), value=31.0)  # type: ignore[misc]


def test_no_block_is_left_out() -> None:
    """Each block of Python says what it is."""
    assert len(BLOCKS) == read("docs/sdk/tutorial.md").count("```python")
    assert {kind for kind, _ in BLOCKS} == {"app", "async", "test"}


def test_reference_is_current() -> None:
    """Made anew with `python -m tests.docs.sdk_reference`."""
    assert read("docs/sdk/reference.md") == sdk_reference.create_page()


def test_reference_has_what_the_sdk_offers() -> None:
    """The names that the package exports, and each method of an app."""
    text = sdk_reference.create_page()
    for name in ("class App", "class Reading", "class Platform", "#### sleep_async", "### send", "### set\n"):
        assert name in text, name
