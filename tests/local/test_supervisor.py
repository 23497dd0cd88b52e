"""The supervisor with real child processes: order, restarts, stopping, and what is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from streams.local import child as child_module
from streams.local.child import Child, ChildSpec, rotate_log
from streams.local.processes import find_marked, identify, is_alive, run_mark
from streams.local.rundir import read_run
from streams.local.supervisor import Supervisor
from tests.local.waiting import wait_until

#: A process that says its name when it begins and when it is told to stop.
_POLITE = """
import signal, sys, time
journal, name = sys.argv[1:]
def write(word):
    with open(journal, "a") as file:
        file.write(f"{word} {name}\\n")
def stop(*_):
    write("end")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
write("begin")
while True:
    signal.pause()
"""

#: A process that does not listen.
_STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"

#: A process that starts another in a session of its own and waits.
_PARENT = """
import signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
signal.pause()
"""


def polite(journal: Path, name: str, stage: int) -> ChildSpec:
    """Return a child that writes into the journal."""
    return ChildSpec(name, [sys.executable, "-c", _POLITE, str(journal), name], stage)


async def supervised(
    specs: list[ChildSpec], folder: Path, body: Callable[[Supervisor], Awaitable[None]]
) -> tuple[int, list[str]]:
    """Run a supervisor, do something with it, stop it; return its exit code and what it said."""
    said: list[str] = []
    supervisor = Supervisor(specs, folder, say=said.append)
    running = asyncio.create_task(supervisor.run())
    try:
        await body(supervisor)
    finally:
        supervisor.ask_stop()
        code = await running
    return code, said


async def until_running(supervisor: Supervisor) -> None:
    """Return once every child runs."""
    await wait_until(
        lambda: all(child.state in {"running", "done"} for child in supervisor.children), "all run"
    )


def is_back(child: Child, restarts: int) -> bool:
    """Tell whether the child runs again after so many restarts."""
    return child.restarts == restarts and child.state == "running"


def test_starts_by_stage_and_stops_in_reverse(tmp_path: Path) -> None:
    """A later stage begins after and ends before an earlier one."""
    journal = tmp_path / "journal"
    journal.touch()

    async def body(supervisor: Supervisor) -> None:
        await until_running(supervisor)
        await wait_until(lambda: journal.read_text().count("begin") == 3, "three began")

    # A step between them, so that the first has surely written its line before the next begins.
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(journal)!r}).read_text(): time.sleep(0.01)"
    specs = [
        polite(journal, "first", 0),
        ChildSpec("between", [sys.executable, "-c", wait], 1, once=True),
        polite(journal, "second", 2),
        polite(journal, "third", 2),
    ]
    code, _ = asyncio.run(supervised(specs, tmp_path, body))

    lines = journal.read_text().splitlines()
    assert code == 0
    assert lines[0] == "begin first"
    assert lines[-1] == "end first"
    assert sorted(lines[1:-1]) == ["begin second", "begin third", "end second", "end third"]


def test_killed_child_is_started_again_with_growing_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that is killed comes back as another process, each time a little later."""
    monkeypatch.setattr(child_module, "BACKOFF_S", 0.01)
    pauses: list[float] = []

    async def body(supervisor: Supervisor) -> None:
        child = supervisor.children[0]
        await until_running(supervisor)
        for restarts in (1, 2):
            assert child.process
            os.kill(child.process.pid, signal.SIGKILL)
            await wait_until(partial(is_back, child, restarts), "back")
            pauses.append(child._backoff_s)

    asyncio.run(supervised([polite(tmp_path / "journal", "one", 0)], tmp_path, body))

    assert pauses == [0.02, 0.04]


def test_failed_step_stops_everything_and_is_told(tmp_path: Path) -> None:
    """If a step fails, what runs is stopped, the exit code is 1 and the step's last words are told."""
    specs = [
        polite(tmp_path / "journal", "before", 0),
        ChildSpec("step", [sys.executable, "-c", "import sys; sys.exit('no topics today')"], 1, once=True),
        polite(tmp_path / "journal", "never", 2),
    ]

    async def body(supervisor: Supervisor) -> None:
        await wait_until(lambda: supervisor._phase == "failed", "failed")

    code, said = asyncio.run(supervised(specs, tmp_path, body))

    assert code == 1
    assert "step failed: no topics today." in said
    # On a busy machine not even the first has come to write.
    journal = tmp_path / "journal"
    assert not journal.exists() or "never" not in journal.read_text()
    assert find_marked(run_mark(tmp_path)) == []


def test_child_that_ends_before_it_is_ready_is_started_the_other_way(tmp_path: Path) -> None:
    """The fallback command is used once the usual one has failed, and from then on."""
    journal = tmp_path / "journal"
    good = polite(journal, "one", 0)
    spec = good._replace(argv=[sys.executable, "-c", "1"], fallback_argv=good.argv, ready_kafka="127.0.0.1:1")

    async def body(supervisor: Supervisor) -> None:
        await wait_until(journal.exists, "the other way began")

    asyncio.run(supervised([spec], tmp_path, body))

    assert journal.read_text().startswith("begin one")


def test_stubborn_child_is_killed_after_its_grace(tmp_path: Path) -> None:
    """A child that ignores SIGTERM is gone after its grace."""

    async def body(supervisor: Supervisor) -> None:
        await until_running(supervisor)

    spec = ChildSpec("stubborn", [sys.executable, "-c", _STUBBORN], 0, grace_s=0.2)
    asyncio.run(supervised([spec], tmp_path, body))

    assert find_marked(run_mark(tmp_path)) == []


def test_frozen_child_is_stopped_in_order(tmp_path: Path) -> None:
    """A child under SIGSTOP is woken to hear that it shall stop."""
    journal = tmp_path / "journal"

    async def body(supervisor: Supervisor) -> None:
        await wait_until(journal.exists, "it began")
        process = supervisor.children[0].process
        assert process
        os.kill(process.pid, signal.SIGSTOP)

    asyncio.run(supervised([polite(journal, "one", 0)], tmp_path, body))

    assert journal.read_text() == "begin one\nend one\n"


def test_grandchildren_in_sessions_of_their_own_are_ended(tmp_path: Path) -> None:
    """Nothing that carries the mark survives, whoever started it."""
    mark = run_mark(tmp_path)

    async def body(supervisor: Supervisor) -> None:
        del supervisor
        await wait_until(lambda: len(find_marked(mark)) == 2, "parent and grandchild run")

    asyncio.run(supervised([ChildSpec("parent", [sys.executable, "-c", _PARENT], 0)], tmp_path, body))

    assert find_marked(mark) == []


def test_run_file_names_each_process(tmp_path: Path) -> None:
    """The run file holds pid and start time of what runs, and that all is stopped at the end."""

    async def body(supervisor: Supervisor) -> None:
        await wait_until(lambda: read_run(tmp_path).get("phase") == "running", "the file says running")
        (recorded,) = read_run(tmp_path)["children"]
        process = supervisor.children[0].process
        assert process
        assert recorded["pid"] == process.pid
        assert recorded["start"] == process.start
        assert is_alive(process)

    asyncio.run(supervised([polite(tmp_path / "journal", "one", 0)], tmp_path, body))

    assert read_run(tmp_path)["phase"] == "stopped"
    assert [child["state"] for child in read_run(tmp_path)["children"]] == ["stopped"]


def test_zombie_counts_as_dead() -> None:
    """A process that ended and was not collected is not alive."""
    pid = os.spawnlp(os.P_NOWAIT, "true", "true")
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        assert identify(pid) is None
    finally:
        os.waitpid(pid, 0)


def test_large_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log over the bound moves to `.1`, older ones up, and the oldest goes."""
    monkeypatch.setattr(child_module, "LOG_BYTES_MAX", 3)
    log = tmp_path / "one.log"
    for text in ("aaaa", "bbbb", "cccc", "dddd", "ok"):
        rotate_log(log)
        log.write_text(text)

    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"one.log": "ok", "one.log.1": "dddd", "one.log.2": "cccc", "one.log.3": "bbbb"}
