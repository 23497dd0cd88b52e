"""`sdk.notifications` and the original interface: what is put into the buffer, how floods merge, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdk import notifications
from sdk.contract.notifications import Notification, decode_notification
from sdk.outbox_errors import OutboxFullError
from tests.sdk.test_outbox import Box

APP = "application-1"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """Kafka as a box, and an app that a platform runs."""
    box = Box()
    monkeypatch.setattr(notifications, "_LatePost", lambda *_: box)
    monkeypatch.setenv("WATCHKEEP_APP_ID", APP)
    monkeypatch.setenv("WATCHKEEP_GENERATION", "17")
    yield box
    box.is_away = False
    notifications.close()
    notifications.configure()


def arrived(box: Box) -> list[Notification]:
    """What Kafka has got once all was delivered."""
    assert notifications.flush(10)
    return [decode_notification(value) for value in box.arrived]


def hold(box: Box) -> None:
    """From now on Kafka is away, and a first record is under way."""
    box.is_away = True
    tries = box.tries
    notifications.send("first", key="first")
    box.await_tries(tries + 1)


def test_a_record_says_who_what_and_in_which_place(box: Box) -> None:
    """App and generation from the environment; one writer, numbers that grow."""
    notifications.send(
        "Pump is dry", key="pump", severity="critical", repeat_every_s=300, escalate_after_s=0.9e3
    )
    notifications.send("hello")
    first, second = arrived(box)
    assert (first.app, first.generation, first.key, first.text) == (APP, 17, "pump", "Pump is dry")
    assert (first.severity, first.count, first.repeat_every_ms, first.escalate_after_ms) == (
        "critical",
        1,
        300_000,
        900_000,
    )
    assert (second.key, second.severity, second.writer) == ("hello", "info", first.writer)
    assert [first.number, second.number] == [1, 2]


def test_a_flood_merges_while_it_waits(box: Box) -> None:
    """One record with the count, the newest text, the loudest severity, and the time of the first."""
    hold(box)
    for number in range(1_000):
        notifications.send(f"dry {number}", key="dry", severity="critical" if number == 500 else "info")
    notifications.send("other")
    box.is_away = False
    _, dry, other = arrived(box)
    assert (dry.count, dry.text, dry.severity) == (1_000, "dry 999", "critical")
    assert dry.first_at_ms <= dry.last_at_ms
    assert dry.number < other.number


def test_a_full_buffer_drops_the_oldest_and_tells(box: Box) -> None:
    """Counted here, and in the records that are sent after, also if they were on their way."""
    notifications.configure(size=2)
    hold(box)
    for key in ("a", "a", "b", "c"):
        notifications.send("x", key=key)
    assert (notifications.dropped(), notifications.waiting()) == (2, 3)
    box.is_away = False
    assert [(each.key, each.dropped) for each in arrived(box)] == [("first", 2), ("b", 2), ("c", 2)]


def test_a_full_buffer_refuses_if_asked_to(box: Box) -> None:
    """What waits already still counts on."""
    notifications.configure(size=1, when_full="refuse")
    hold(box)
    notifications.send("x", key="a")
    with pytest.raises(OutboxFullError, match="1 letters wait"):
        notifications.send("x", key="b")
    notifications.send("x", key="a")
    box.is_away = False
    assert [(each.key, each.count) for each in arrived(box)] == [("first", 1), ("a", 2)]


def test_numbers_of_threads_arrive_in_order(box: Box) -> None:
    """Whoever sends: within a writer numbers only grow."""

    def work(name: str) -> None:
        for number in range(200):
            notifications.send("x", key=f"{name}-{number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [each.number for each in arrived(box)]
    assert numbers == sorted(numbers) == list(range(1, 801))


def test_another_process_or_start_is_another_writer(box: Box) -> None:
    """After `close`, and in a forked child, whose numbers begin anew."""
    notifications.send("one")
    (first,) = arrived(box)
    notifications.close()
    notifications.send("two")
    second = arrived(box)[-1]
    assert (second.number, second.writer != first.writer) == (1, True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            notifications.send("three", key="three")
            notifications.flush(10)
            said = decode_notification(box.arrived[-1])
            os.write(writer, b"ok" if said.number == 1 and said.writer != second.writer else b"no")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        assert answer.read() == b"ok"
    os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"severity": "fatal"}, "severity: 'fatal' is unknown; allowed: info, warning, critical"),
        ({"key": ""}, "key: '' is none"),
        ({"key": "x" * 101}, "1 to 100 printable letters"),
        ({"key": "a\nb"}, "printable"),
        ({"repeat_every_s": 0.1}, r"repeat_every_s \(ms\): 100 is out of range"),
        ({"escalate_after_s": -1}, "escalate_after_s"),
        ({"escalate_after_s": float("nan")}, "is no number of seconds"),
        ({"repeat_every_s": "5 min"}, "is no number of seconds"),
        ({"app": "application-2"}, "application-1 cannot speak for application-2"),
        ({"app": "a/b"}, "cannot|is not a name"),
    ],
)
def test_a_wrong_argument_is_said_at_once(box: Box, given: dict[str, Any], says: str) -> None:
    """Which, and what is allowed."""
    with pytest.raises(ValueError, match=says):
        notifications.send("x", **given)
    assert notifications.waiting() == 0
    with pytest.raises(TypeError, match="text: int is no text"):
        notifications.send(7)  # type: ignore[arg-type]
    assert arrived(box) == []


def test_any_text_can_be_sent(box: Box) -> None:
    """Long ones are cut, what UTF-8 cannot say is replaced, nothing is something."""
    notifications.send("x" * 5_000, key="long")
    notifications.send("\ud800 broken", key="broken")
    notifications.send("  ", key="empty")
    long, broken, empty = arrived(box)
    assert (len(long.text), long.text[-1]) == (2_000, "…")
    assert (broken.text, empty.text) == ("? broken", "(no text)")


def test_outside_of_a_managed_app_it_is_named(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the argument, as its author writes it, or by the environment; generation 0."""
    monkeypatch.delenv("WATCHKEEP_GENERATION")
    monkeypatch.delenv("WATCHKEEP_APP_ID")
    with pytest.raises(ValueError, match="outside of a managed app it must be named"):
        notifications.send("x")
    notifications.send("x", app="app_instance_63546eef86f64aec98c58e3ca96c38b3")
    notifications.send("x", app="service-db")
    assert [(each.app, each.generation) for each in arrived(box)] == [
        ("application-app_instance_63546eef86f64aec98c58e3ca96c38b3", 0),
        ("service-db", 0),
    ]


def test_configure_says_at_once_what_is_wrong() -> None:
    """A size and a policy that there are."""
    with pytest.raises(ValueError, match="size: 0 is out of range"):
        notifications.configure(size=0)
    with pytest.raises(ValueError, match="when_full: 'wait' is unknown"):
        notifications.configure(when_full="wait")  # type: ignore[arg-type]


def test_the_original_interface_word_for_word(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of texts, and also a single one; inside a managed app it lies on the import path."""
    monkeypatch.syspath_prepend(str(ROOT / "sdk" / "original"))
    import action_and_notification_api  # type: ignore[import-not-found]  # on the path of managed apps

    action_and_notification_api.send_notification(["Temperature exceeded!"])
    action_and_notification_api.send_notification("just one")
    assert [each.text for each in arrived(box)] == ["Temperature exceeded!", "just one"]


def test_importing_it_opens_nothing() -> None:
    """No client is imported, no thread started."""
    code = (
        "import sys, threading; from sdk import notifications; "
        "assert 'kafka' not in sys.modules, 'kafka'; assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)  # our own
