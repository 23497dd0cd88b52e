"""Makes ready and launches the supervisor, in the foreground or detached; stops a running one. Part of the shell."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.commands import CANNOT_REACH_KAFKA, USAGE, CommandError
from streams.local import supervise
from streams.local.bridge import with_bridge
from streams.local.broker import check_disk
from streams.local.probe import probe_any
from streams.local.processes import ProcessId, identify, is_alive, send
from streams.local.rundir import acquire_lock, end_leftovers, find_holder
from streams.local.screen import Screen
from streams.local.stack import create_broker, plan_children
from streams.settings import PROJECT_ROOT, Settings, resolved_environment

#: Seconds for a running `up` to stop: the sum of what its children may take.
DOWN_TIMEOUT_S: Final = 90.0

#: Seconds to wait for somebody else's Kafka before giving up.
_CLUSTER_TIMEOUT_S: Final = 5.0

#: Seconds to read some files with a fresh interpreter, on a busy machine.
_CHECK_TIMEOUT_S: Final = 30.0

_POLL_S: Final = 0.05


def prepare(settings: Settings, screen: Screen, *, demo: bool) -> tuple[Path, int]:
    """Do everything that comes before the first process; return the plan and the lock that is held.

    Raises:
        CommandError: in one plain sentence, with nothing started.
    """
    data_dir = settings.data_path
    lock = _acquire_lock(data_dir)
    ended = end_leftovers(data_dir)
    if ended:
        screen.console.print(
            f"An earlier `up` was killed; stopped the {ended} processes that it left.", soft_wrap=True
        )
    check_disk(data_dir, "the data is kept", "set data_dir to another disk")
    broker = None
    settings, note = with_bridge(settings)
    if note:
        screen.console.print(note, soft_wrap=True)
    if settings.own_broker:
        broker = create_broker(settings)
        broker.check_ports()
        broker.prepare(screen.step, screen.bytes_done)
    else:
        _check_cluster(settings.bootstrap)
    plan = data_dir / "plan.json"
    children = plan_children(settings, broker, demo=demo)
    if settings.pools:
        check_provisioners(settings)
    supervise.write_plan(plan, children, data_dir)
    return plan, lock


def check_provisioners(settings: Settings) -> None:
    """Let the agents' own check read what their provisioners will be told.

    Raises:
        CommandError: with the sentence of that check.
    """
    configs = sorted(str(path) for path in settings.data_path.glob("provisioner*.json"))
    done = subprocess.run(
        [sys.executable, "-m", "agents.check_config", *configs],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=_CHECK_TIMEOUT_S,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it says nothing"]
        raise CommandError(f"A pool cannot be made as its table says: {lines[-1]}.", USAGE)


def run_in_foreground(settings: Settings, plan: Path, lock: int) -> None:
    """Turn this process into the supervisor, with a viewer beside it; does not return."""
    os.chdir(PROJECT_ROOT)
    env = {**os.environ, **_own_environment(settings)}
    viewer = subprocess.Popen(
        [sys.executable, "-m", "streams.local.viewer", str(os.getpid())], env=env, stdin=subprocess.DEVNULL
    )
    os.set_inheritable(lock, True)
    argv = supervise.command(plan, lock, viewer.pid)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(argv[0], argv, env)


def run_detached(settings: Settings, plan: Path, lock: int) -> int:
    """Start the supervisor in the background and return its pid."""
    log = settings.data_path / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        os.set_inheritable(lock, True)
        supervisor = subprocess.Popen(
            supervise.command(plan, lock),
            cwd=PROJECT_ROOT,
            env={**os.environ, **_own_environment(settings)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
        )
    # Python would remind us of a child that was not waited for; it shall outlive us.
    supervisor.returncode = 0
    os.close(lock)
    return supervisor.pid


def stop_running(settings: Settings, say: Callable[[str], None]) -> None:
    """Stop the `up` of this data directory, or what a killed one left, and return when all of it is gone.

    Raises:
        CommandError: if it does not stop in time.
    """
    data_dir = settings.data_path
    holder = find_holder(data_dir)
    process = identify(holder) if holder else None
    if process is None:
        ended = end_leftovers(data_dir) if data_dir.exists() else 0
        say(f"Stopped {ended} processes that a killed `up` had left." if ended else "Nothing is running.")
        return
    say(f"Stopping Watchkeep (pid {process.pid}).")
    _ask_to_stop(process)
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    while is_alive(process) or find_holder(data_dir) is not None:
        if time.monotonic() > deadline:
            raise CommandError(
                f"It did not stop within {DOWN_TIMEOUT_S:.0f} s; see logs/up.log in the data_dir."
            )
        time.sleep(_POLL_S)
    end_leftovers(data_dir)
    say("Everything is stopped; the data stays.")


def _ask_to_stop(process: ProcessId) -> None:
    from signal import SIGCONT, SIGTERM

    send(process, SIGTERM)
    send(process, SIGCONT)


def _acquire_lock(data_dir: Path) -> int:
    try:
        return acquire_lock(data_dir)
    except OSError as error:
        raise CommandError(f"The data directory cannot be used: {error.strerror or error}.") from error


def _check_cluster(bootstrap: str) -> None:
    """Raise a plain CommandError unless that Kafka answers."""
    deadline = time.monotonic() + _CLUSTER_TIMEOUT_S
    while probe_any(bootstrap) is None:
        if time.monotonic() > deadline:
            raise CommandError(
                f"No Kafka answers at {bootstrap}; start it, or unset KAFKA_BOOTSTRAP_SERVERS to use our own.",
                CANNOT_REACH_KAFKA,
            )
        time.sleep(_POLL_S)


def _own_environment(settings: Settings) -> dict[str, str]:
    """Return what the supervisor and the viewer get: the settings in force and where our packages lie."""
    path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**resolved_environment(settings), "PYTHONPATH": path}
