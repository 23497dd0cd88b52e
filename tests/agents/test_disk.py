"""Atomic writes, locks, logs and the bounded clock."""

import os
from pathlib import Path

import pytest

from agents import disk
from agents.clock import BoundedClock
from agents.procfs import start_of
from agents.state import Image


def test_write_replaces_whole_files(tmp_path: Path) -> None:
    """A write leaves the new content and nothing beside it."""
    path = tmp_path / "x"
    for content in (b"first, longer", b"second"):
        disk.write_atomic(path, content)
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"as_of":"x"}', b"\xff"])
def test_unreadable_records_are_the_default(tmp_path: Path, content: bytes | None) -> None:
    """A record that is missing or broken is as if it were never written."""
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    assert disk.read_record(path, Image, Image()) == Image()


def test_directory_has_one_user(tmp_path: Path) -> None:
    """A second lock is refused with the holder's pid; after a release it is granted."""
    lock = disk.DirectoryLock(tmp_path)
    with pytest.raises(disk.InUseError, match=f"process {os.getpid()}"):
        disk.DirectoryLock(tmp_path)
    assert disk.read_holder(tmp_path) == (os.getpid(), start_of(os.getpid()))
    lock.release()
    disk.DirectoryLock(tmp_path).release()


def test_full_log_is_set_aside(tmp_path: Path) -> None:
    """A full log is copied and cut, its writer goes on in the same file."""
    path = tmp_path / "logs" / "x.log"
    fd = disk.open_log(path)
    os.write(fd, b"a" * disk.LOG_BYTES_MAX)
    disk.rotate_log(path)
    os.write(fd, b"next\n")
    os.close(fd)
    assert path.read_bytes() == b"next\n"
    assert path.with_name("x.log.1").stat().st_size == disk.LOG_BYTES_MAX


def test_tail_of_a_log(tmp_path: Path) -> None:
    """The tail is whole lines, nothing if there is no log."""
    path = tmp_path / "x.log"
    assert disk.tail_of(path, 3) == b""
    path.write_bytes(b"1\n2\n3\n4\n")
    assert disk.tail_of(path, 3) == b"2\n3\n4\n"
    assert disk.tail_of(path, 0) == b""


def test_clock_follows_small_steps_and_cuts_large_ones() -> None:
    """The clock moves with its source, by at most a second a turn, and says when it was cut."""
    now_s = 100.0
    clock = BoundedClock(lambda: now_s)
    now_s = 100.9
    assert (clock.turn(), clock.now_ms) == (False, 900)
    now_s = 130.0
    assert (clock.turn(), clock.now_ms) == (True, 1_900)
    now_s = 130.5
    assert (clock.turn(), clock.now_ms) == (False, 2_400)
