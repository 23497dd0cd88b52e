"""Files of the agents: atomic writes, locked directories, logs with a bound. Shell of the agents.

Writes are atomic against the death of the process, not against loss of power: what would be lost then (the
last registration, the highest port) is also in the orders, and nothing that ran before is alive after it.
"""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from agents.procfs import start_of

#: A log is set aside at this size; one older file is kept, so an app costs at most twice this.
LOG_BYTES_MAX = 4 << 20

T = TypeVar("T")


class InUseError(RuntimeError):
    """Another process works in the directory; the text says which."""


def home_of(directory: Path) -> str:
    """A short name of a directory that tells apart what belongs to it: labels of containers, control groups."""
    return hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:12]


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path` whole or not at all."""
    aside = path.with_name(path.name + ".new")
    aside.write_bytes(content)
    aside.replace(path)


def read_record(path: Path, kind: type[T], default: T) -> T:
    """The record at `path`, `default` if there is none or it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return default


class DirectoryLock:
    """A directory that one process works in; the file names it by pid and start time."""

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        Raises:
            InUseError: another process holds it.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 100, 0).decode(errors="replace").split(" ")[0]
            os.close(self._fd)
            raise InUseError(
                f"{directory} is in use by process {holder or 'unknown'}: stop it, or choose another data_dir"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()} {start_of(os.getpid())}".encode(), 0)

    def release(self) -> None:
        """Let others in."""
        os.close(self._fd)


def read_holder(directory: Path) -> tuple[int, int]:
    """Pid and start time of the process that last locked `directory`, zeros if none did."""
    try:
        pid, start = (directory / "lock").read_text().split(" ")
        return int(pid), int(start)
    except (OSError, ValueError):
        return 0, 0


def open_log(path: Path) -> int:
    """A file descriptor that appends to `path`; a full log is set aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rotate_log(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def rotate_log(path: Path) -> None:
    """Set a full log aside. Its writer keeps the file open, so it is copied and cut, not renamed."""
    try:
        if path.stat().st_size < LOG_BYTES_MAX:
            return
        # What is written between the two steps is lost: a line or two of a log that is too chatty anyway.
        path.with_name(path.name + ".1").write_bytes(path.read_bytes()[-LOG_BYTES_MAX:])
        os.truncate(path, 0)
    except OSError:
        return


def tail_of(path: Path, lines: int) -> bytes:
    """The last `lines` lines of a log, at most 256 KiB."""
    bytes_max = 256 << 10
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            size = log.tell()
            log.seek(max(0, size - bytes_max))
            content = log.read(bytes_max)
    except OSError:
        return b""
    return b"".join(content.splitlines(keepends=True)[-lines:]) if lines > 0 else b""
