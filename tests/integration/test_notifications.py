"""Apps tell people something: floods, answers, outages, crashes and garbage, on a real Kafka of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from sdk import notifications
from sdk.contract.notifications import Notification, encode_notification
from sdk.contract.specs import AppSpec
from sdk.contract.topics import Topics
from streams.core.letters import decode_letter
from streams.local.rig import Rig
from streams.log_source import open_source
from tables.notification_rows import NotificationRow
from tables.state import State
from tests.integration.checks import check_end

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = str(Path(__file__).parent / "apps_notifying.py")
#: The program of somebody else, which sends and ends at once.
SENDS = (
    "from sdk import notifications\n"
    "notifications.send('done with it', app='script', key='done', severity='warning')\n"
)
#: A program that has much to say while Kafka is away.
OUTAGE = """
import json, sys, time
from sdk import notifications
notifications.configure(size=50)
notifications.send("before", key="outage", app="brave")
sys.stdin.readline()
slowest_s = 0.0
for number in range(40):
    for key in ("outage", f"only-{number}"):
        began_s = time.perf_counter()
        notifications.send(f"during {number}", key=key, app="brave")
        slowest_s = max(slowest_s, time.perf_counter() - began_s)
print(json.dumps([slowest_s, notifications.waiting()]), flush=True)
print(json.dumps([notifications.flush(60), notifications.dropped()]), flush=True)
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A platform with one node, on a broker that can be killed."""
    with Rig(tmp_path_factory.mktemp("notifications")) as rig:
        rig.start(workers=1, nodes=1)
        yield rig
        # After all that every row of the view is the fold's, and nobody was accused.
        check_end(rig, 0, touched=["application-notifier"])


@pytest.fixture(autouse=True)
def sdk_here(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The SDK in this process and its children talks to the rig's platform."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", rig.bootstrap)
    monkeypatch.setenv("WATCHKEEP_PREFIX", rig.prefix)
    yield
    notifications.close()


def cli(rig: Rig, *words: str, exit_code: int = 0) -> str:
    """Run a command on notifications."""
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    result = CliRunner().invoke(main, ["notifications", *words, *where])
    assert result.exit_code == exit_code, result.output
    return str(result.output)


def listed(rig: Rig, *words: str) -> list[dict[str, Any]]:
    """The notifications that a list shows."""
    found: list[dict[str, Any]] = json.loads(cli(rig, "list", "-o", "json", *words))
    return found


def await_row(
    rig: Rig, key: str, right: Callable[[NotificationRow], bool] = lambda _: True
) -> NotificationRow:
    """The row once it is right."""

    def look(state: State) -> NotificationRow | None:
        row = state.notifications.get(key)
        return row if row is not None and right(row) else None

    return rig.wait(look, within_s=30, what=f"notification {key}")


@pytest.fixture
def watcher(rig: Rig, tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """`notifications watch` in a process of its own; what it has told so far."""
    out = tmp_path / "watched.jsonl"
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    with out.open("wb") as file, (tmp_path / "stderr").open("wb") as errors:
        process = subprocess.Popen(  # our own command
            [sys.executable, str(ROOT / "cli.py"), "notifications", "watch", "--new", "-o", "json", *where],
            stdout=file,
            stderr=errors,
        )

        def told() -> list[dict[str, Any]]:
            whole = out.read_text(encoding="utf-8").rpartition("\n")[0]
            return [json.loads(line) for line in whole.splitlines()]

        notifications.send("are you there?", app="probe", key="probe", severity="critical", repeat_every_s=1)
        assert notifications.close()
        until(lambda: any(each["app"] == "application-probe" for each in told()), within_s=30)
        try:
            yield told
        finally:
            process.kill()
            process.wait()


def until(is_right: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Wait for a condition."""
    deadline_s = time.monotonic() + within_s
    while not is_right():
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.05)


def test_a_flood_is_one_row_with_a_count_and_people_answer(rig: Rig) -> None:
    """2,000 at once are a handful of records and one line; acknowledged it counts on, cleared it begins anew."""
    for number in range(2_000):
        notifications.send(
            f"Pump is dry ({number})", key="dry", severity="warning", app="pump", repeat_every_s=300
        )
    assert notifications.flush(20)
    row = await_row(rig, "application-pump/dry", lambda row: row.count == 2_000)
    assert (row.text, row.severity, row.state) == ("Pump is dry (1999)", "warning", "open")
    assert "2,000" in cli(rig, "list", "--app", "pump")
    assert "every 5 min until acknowledged" in cli(rig, "show", "pump", "dry")

    assert f"#{row.number} of application-pump is acknowledged" in cli(
        rig, "ack", str(row.number), "--by", "anna"
    )
    assert "acknowledged already by anna" in cli(rig, "ack", "pump", "dry", exit_code=1)
    notifications.send("Pump is dry (again)", key="dry", severity="info", app="pump")
    row = await_row(rig, "application-pump/dry", lambda row: row.count == 2_001)
    assert (row.state, row.by) == ("acknowledged", "anna")
    notifications.send("Pump burns", key="dry", severity="critical", app="pump")
    await_row(rig, "application-pump/dry", lambda row: row.state == "open" and row.severity == "critical")

    assert "is cleared" in cli(rig, "clear", "--all", "--app", "pump")
    assert listed(rig, "--app", "pump") == []
    assert listed(rig, "--app", "pump", "--state", "cleared")[0]["count"] == 2_002
    notifications.send("Pump is dry", key="dry", app="pump")
    new = await_row(rig, "application-pump/dry", lambda row: row.state == "open")
    assert (new.count, new.severity) == (1, "info")
    assert new.number > row.number
    assert "There is no notification 9999" in cli(rig, "ack", "9999", exit_code=3)


def test_what_nobody_answers_is_shown_again_and_grows_louder(
    rig: Rig, watcher: Callable[[], list[dict[str, Any]]]
) -> None:
    """Live: new, still open, louder, acknowledged; each thing once."""
    notifications.send("Lift stands still", key="lift", app="lift", repeat_every_s=1, escalate_after_s=2)

    def told(what: str) -> list[dict[str, Any]]:
        return [each for each in watcher() if each["app"] == "application-lift" and each["what"] == what]

    until(lambda: len(told("louder")) == 2 and len(told("again")) >= 2)
    assert [each["severity"] for each in told("louder")] == ["warning", "critical"]
    await_row(rig, "application-lift/lift", lambda row: (row.severity, row.escalations) == ("critical", 2))
    cli(rig, "ack", "lift", "lift", "--by", "ben")
    until(lambda: told("acknowledged"))
    repeats = [each["repeats"] for each in told("again")]
    assert repeats == sorted(set(repeats))
    assert (len(told("new")), len(told("acknowledged")), told("acknowledged")[0]["by"]) == (1, 1, "ben")


def test_a_program_that_ends_at_once_has_told_it(rig: Rig) -> None:
    """Its buffer is emptied before the process is gone; the next run has numbers of its own."""
    for count in (1, 2):
        subprocess.run([sys.executable, "-c", SENDS], check=True, cwd=ROOT, timeout=60)  # our own
        row = await_row(rig, "application-script/done", lambda row, count=count: row.count == count)  # type: ignore[misc]
    assert row.text == "done with it"
    assert len(rig.state().speakers["application-script"].writers) == 2


def test_the_original_interface_and_the_new_copy_of_a_killed_app(rig: Rig) -> None:
    """Both copies are heard once each, and a record of the old one that comes late is stale."""
    app = "application-notifier"
    rig.run_apps([AppSpec(app=app, command=["python3", PROGRAM])])
    row = await_row(rig, f"{app}/Temperature exceeded!")
    assert (row.count, row.severity, row.generation) == (1, "info", rig.state().apps[app].generation)
    await_row(rig, f"{app}/hello")
    old = rig.state().speakers[app]

    rig.kill(rig.app_pid(app))
    await_row(rig, f"{app}/hello", lambda row: row.count == 2)
    await_row(rig, f"{app}/Temperature exceeded!", lambda row: row.count == 2)
    speaker = rig.state().speakers[app]
    assert speaker.generation > old.generation
    writer = next(iter(old.writers))
    late = Notification(app, old.generation, writer, 99, "hello", "a ghost", "critical", 1, 1)
    stale = rig.state().inbox.stale
    rig.log.put(Topics(rig.prefix).notifications, encode_notification(late))
    rig.wait(lambda state: state.inbox.stale == stale + 1, what="the ghost's record")
    assert rig.state().notifications[f"{app}/hello"].count == 2
    rig.stop_apps([app])


def test_garbage_becomes_dead_letters_and_a_record_counts_once(rig: Rig) -> None:
    """The reader goes on behind what is none of ours; a record that a retry wrote twice counts once."""
    topic = Topics(rig.prefix).notifications
    before = rig.state().inbox
    once = encode_notification(Notification("application-twice", 0, "w1", 1, "k", "once", "info", 1, 1))
    many = [b"\xff", once, b"{}", once, None, once]
    offsets = rig.log.put_many([(topic, value, b"x", 0) for value in many])
    row = await_row(rig, "application-twice/k")
    rig.wait(lambda state: state.inbox.next_offset > offsets[-1], what="all read")
    inbox = rig.state().inbox
    assert (row.count, inbox.garbled - before.garbled, inbox.doubled - before.doubled) == (1, 3, 2)
    letters = {(letter.topic, letter.offset) for letter in map(decode_letter, _letters(rig))}
    assert {(topic, offsets[at]) for at in (0, 2, 4)} <= letters


def _letters(rig: Rig) -> list[bytes]:
    import asyncio

    async def read() -> list[bytes]:
        async with open_source(rig.bootstrap, rig.prefix) as source:
            place = (source.topics.dead_letters, 0)
            ends = await source.ends([place])
            return [r.value async for records in source.read({place: 0}, ends) for r in records]

    return asyncio.run(read())


def test_what_is_sent_while_the_broker_is_away_arrives_once(
    rig: Rig, watcher: Callable[[], list[dict[str, Any]]]
) -> None:
    """In order and with the right counts; who sends is not held up, and who watches sees each thing once."""
    assert rig.broker is not None
    with (
        subprocess.Popen(
            [sys.executable, "-c", OUTAGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as app
    ):  # the SDK's client, left alone with a dead broker, leaks sockets that this process would be blamed for
        assert app.stdin is not None
        assert app.stdout is not None
        await_row(rig, "application-brave/outage")
        rig.broker.kill()
        app.stdin.write("away\n")
        app.stdin.flush()
        slowest_s, waiting = json.loads(app.stdout.readline())
        # The figure itself is the bench's; here it only must not be that of an outage.
        assert slowest_s < 0.5
        assert waiting > 0
        rig.broker.start()
        assert json.loads(app.stdout.readline()) == [True, 0]
    row = await_row(rig, "application-brave/outage", lambda row: row.count == 41)
    assert row.text == "during 39"
    for number in range(40):
        assert await_row(rig, f"application-brave/only-{number}").count == 1

    def keys() -> list[str]:
        return [it["key"] for it in watcher() if it["app"] == "application-brave" and it["what"] == "new"]

    until(lambda: len(keys()) >= 41)
    assert len(keys()) == len(set(keys())) == 41
    assert rig.state().inbox.lost == 0
