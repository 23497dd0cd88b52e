"""What a data directory says about the `up` that runs on it: the lock, the run file, leftovers.

Part of the shell; stdlib only, because the supervisor keeps it in memory.

1. Who holds the lock on `up.lock` is the one `up` of this directory; the kernel drops it when that ends.
2. `run.json` is written whole or not at all, by the holder of the lock only; anyone may read it.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, Final

from streams.commands import CommandError
from streams.local.processes import ProcessId, end_all, find_marked, is_alive, run_mark

LOCK_NAME: Final = "up.lock"
RUN_NAME: Final = "run.json"

#: Seconds that leftovers of a killed `up` get before they are forced.
_LEFTOVER_GRACE_S: Final = 10.0


def acquire_lock(data_dir: Path) -> int:
    """Return an open file that holds the lock of the directory as long as it is open.

    Raises:
        CommandError: if another `up` holds it, naming its pid.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 20).decode().strip() or "unknown"
        os.close(handle)
        raise CommandError(
            f"Watchkeep already runs on this data directory (pid {holder}); "
            "stop it with `python cli.py down` or choose another data_dir."
        ) from None
    write_holder(handle, os.getpid())
    return handle


def write_holder(handle: int, pid: int) -> None:
    """Write into the lock file who holds it; a reader finds the one before or this one, never nobody."""
    text = f"{pid}\n".encode()
    os.pwrite(handle, text, 0)
    # What is left of a longer number comes after the first line.
    os.ftruncate(handle, len(text))


def find_holder(data_dir: Path) -> int | None:
    """Return the pid of the `up` that runs on this directory, None if none does."""
    try:
        handle = os.open(data_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(handle, 20).decode().partition("\n")[0]
        return int(text) if text.isdigit() else None
    finally:
        os.close(handle)
    return None


def write_run(data_dir: Path, run: dict[str, Any]) -> None:
    """Write the run file."""
    fresh = data_dir / f"{RUN_NAME}.tmp"
    fresh.write_text(json.dumps(run), encoding="utf-8")
    fresh.replace(data_dir / RUN_NAME)


def read_run(data_dir: Path) -> dict[str, Any]:
    """Return the run file, empty if there is none that can be read."""
    try:
        run = json.loads((data_dir / RUN_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}


def find_leftovers(data_dir: Path) -> list[ProcessId]:
    """Return what still runs of an `up` that was killed: by the run file and by the mark."""
    recorded = [process for child in _recorded(data_dir) if is_alive(process := _process_of(child))]
    marked = find_marked(run_mark(data_dir))
    return [*(process for process in recorded if process not in marked), *marked]


def end_leftovers(data_dir: Path) -> int:
    """End what is left of a killed `up` and return how many processes that were.

    In the order of a usual stop: who needs Kafka to say goodbye waits in vain for one that is gone.
    """
    count = len(find_leftovers(data_dir))
    if count == 0:
        return 0
    waiting = _recorded(data_dir)
    for stage in sorted({child.get("stage", 0) for child in waiting}, reverse=True):
        ending = [child for child in waiting if child.get("stage", 0) == stage]
        waiting = [child for child in waiting if child not in ending]
        end_all(map(_process_of, ending), grace_s=_LEFTOVER_GRACE_S)
        # A mere step has started nothing that stays.
        if not all(child.get("once") for child in ending):
            kept = [_process_of(child) for child in waiting]
            strays = [process for process in find_marked(run_mark(data_dir)) if process not in kept]
            end_all(strays, grace_s=_LEFTOVER_GRACE_S)
    end_all(find_marked(run_mark(data_dir)), grace_s=_LEFTOVER_GRACE_S)
    return count


def _recorded(data_dir: Path) -> list[dict[str, Any]]:
    return [
        child for child in read_run(data_dir).get("children", []) if child.get("pid") and child.get("start")
    ]


def _process_of(child: dict[str, Any]) -> ProcessId:
    return ProcessId(child["pid"], child["start"])
