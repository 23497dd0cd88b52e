"""`up` and `down` as programs: the lock, a second `up`, what a killed one leaves, a detached one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.commands import CommandError
from streams.local import supervise
from streams.local.child import ChildSpec
from streams.local.launch import run_detached, stop_running
from streams.local.ports import check_port_free, find_free_ports, is_port_free
from streams.local.processes import find_marked, run_mark
from streams.local.rundir import (
    acquire_lock,
    end_leftovers,
    find_holder,
    find_leftovers,
    read_run,
    write_holder,
)
from streams.settings import PROJECT_ROOT, Settings
from tests.local.waiting import wait_for


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Return settings with a data directory of their own; whatever runs on it is ended afterwards."""
    made = Settings(data_dir=str(tmp_path))
    yield made
    holder = find_holder(tmp_path)
    if holder:
        os.kill(holder, signal.SIGKILL)
        wait_for(lambda: find_holder(tmp_path) is None, "the lock is free")
    end_leftovers(tmp_path)


def launch(settings: Settings) -> int:
    """Start a supervisor with one child in the background and return its pid once all runs."""
    plan = settings.data_path / "plan.json"
    child = ChildSpec("sleeper", [sys.executable, "-c", "import signal; signal.pause()"], 0)
    supervise.write_plan(plan, [child], settings.data_path)
    pid = run_detached(settings, plan, acquire_lock(settings.data_path))
    wait_for(lambda: read_run(settings.data_path).get("phase") == "running", "it runs")
    return pid


def collect(pid: int) -> None:
    """Collect a detached supervisor, which is still a child of the tests."""
    os.waitpid(pid, 0)


def test_second_up_is_refused_with_the_pid_of_the_first(settings: Settings) -> None:
    """The lock is held by the supervisor itself, and whoever comes second is told its pid."""
    pid = launch(settings)

    with pytest.raises(CommandError, match=rf"pid {pid}\)"):
        acquire_lock(settings.data_path)

    stop_running(settings, lambda _: None)
    collect(pid)


def test_down_stops_a_detached_up_and_says_so(settings: Settings) -> None:
    """After `down` no process is left and the lock is free."""
    pid = launch(settings)
    said: list[str] = []

    stop_running(settings, said.append)

    collect(pid)
    assert said[-1] == "Everything is stopped; the data stays."
    assert find_marked(run_mark(settings.data_path)) == []
    assert find_holder(settings.data_path) is None


def test_down_says_when_nothing_runs(settings: Settings) -> None:
    """`down` on a directory without an `up` is no error."""
    said: list[str] = []

    stop_running(settings, said.append)

    assert said == ["Nothing is running."]


def test_leftovers_of_a_killed_up_are_found_and_ended(settings: Settings) -> None:
    """If the supervisor is killed with -9, its child goes on, and the next `up` finds and ends it."""
    pid = launch(settings)
    os.kill(pid, signal.SIGKILL)
    collect(pid)
    left = find_leftovers(settings.data_path)

    ended = end_leftovers(settings.data_path)

    assert [process.pid for process in left] == [read_run(settings.data_path)["children"][0]["pid"]]
    assert ended == 1
    assert find_leftovers(settings.data_path) == []


def test_process_with_a_reused_pid_is_left_alone(settings: Settings) -> None:
    """A recorded pid whose start time differs is somebody else's process."""
    other = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        run = f'{{"children": [{{"pid": {other.pid}, "start": 1}}]}}'
        (settings.data_path / "run.json").write_text(run, encoding="utf-8")

        assert end_leftovers(settings.data_path) == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_taken_port_is_named_with_what_to_do() -> None:
    """The sentence names the port and the setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(CommandError, match=rf"Port {port} is taken.*WATCHKEEP_KAFKA_PORT"):
            check_port_free("127.0.0.1", port, "kafka_port")


def test_free_ports_are_free_and_differ() -> None:
    """Ports found for a test can be listened on."""
    ports = find_free_ports(3)

    assert len(set(ports)) == 3
    assert all(is_port_free("127.0.0.1", port) for port in ports)


def test_up_with_a_bad_setting_ends_with_one_sentence(settings: Settings) -> None:
    """A usage error has exit code 2, one line on stderr and starts nothing."""
    done = subprocess.run(
        [sys.executable, "cli.py", "up", "--data-dir", settings.data_dir, "--workers", "0"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert (
        done.stderr
        == "Error: --workers: workers = 0 is not allowed; allowed is a whole number from 1 to 64.\n"
    )
    assert list(settings.data_path.iterdir()) == []


def test_holder_is_never_nobody_while_another_takes_over(tmp_path: Path) -> None:
    """Whoever asks while the number in the lock is written anew gets the one before or the new one."""
    lock = acquire_lock(tmp_path)
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            for pid in (123_456, 7):
                write_holder(lock, pid)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = {find_holder(tmp_path) for _ in range(500)} - {os.getpid()}
    finally:
        over.set()
        writer.join()
        os.close(lock)

    assert found <= {123_456, 7}
