"""The process that stays while the platform runs: `python -m streams.local.supervise PLAN`. Part of the shell.

`up` does what needs libraries (settings, jars, screen), writes its plan to a file and turns into this, so
that what stays for days is small. It holds the lock on the data directory, handed over as an open file.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from streams.local.child import ChildSpec
from streams.local.rundir import write_holder
from streams.local.supervisor import Supervisor


def write_plan(path: Path, specs: list[ChildSpec], data_dir: Path) -> None:
    """Write what `main` reads."""
    plan = {"data_dir": str(data_dir), "children": [spec._asdict() for spec in specs]}
    path.write_text(json.dumps(plan), encoding="utf-8")


def read_plan(path: Path) -> tuple[list[ChildSpec], Path]:
    """Return the children and the data directory of a plan."""
    plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return [ChildSpec(**child) for child in plan["children"]], Path(plan["data_dir"])


def command(plan: Path, lock: int, viewer: int = 0) -> list[str]:
    """Return the argv that runs this module on a plan; `viewer` is a child process to collect when it ends."""
    return [sys.executable, "-m", "streams.local.supervise", str(plan), str(lock), str(viewer)]


def main(argv: list[str]) -> int:
    """Run the supervisor on plan, lock and viewer as `command` says them; return the exit code."""
    specs, data_dir = read_plan(Path(argv[0]))
    lock = int(argv[1])
    # Children must not hold the lock on: it says that the supervisor lives.
    os.set_inheritable(lock, False)
    write_holder(lock, os.getpid())

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    async def run() -> int:
        collect_when_ended(int(argv[2]))
        return await Supervisor(specs, data_dir, say=say).run()

    code = asyncio.run(run())
    say("everything is stopped" if code == 0 else "nothing is left running")
    return code


def collect_when_ended(pid: int) -> None:
    """Collect a child that this process inherited from the program it was before; 0 means there is none."""
    if pid == 0:
        return
    handle = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()

    def collect() -> None:
        loop.remove_reader(handle)
        os.close(handle)
        os.waitpid(pid, 0)

    loop.add_reader(handle, collect)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
