"""Watches a starting platform until it is green: `python -m streams.local.viewer`. Part of the shell.

In the foreground it is a process beside the supervisor, which has no room for these libraries; it ends with
the last screen. Detached, `up` itself does this.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Any, Final

from rich.console import Console

from streams.commands import FAILED, OK, UNHEALTHY
from streams.local.rundir import find_holder, read_run
from streams.local.screen import Screen, show_summary
from streams.settings import Settings, load_settings

#: Seconds for everything to be green; 12 s is the aim, a loaded machine may need a minute.
GREEN_TIMEOUT_S: Final = 120.0

_POLL_S: Final = 0.1

_GREEN: Final = "all nodes are there"


async def ask_platform_status(settings: Settings) -> dict[str, Any]:
    """Return how the platform is; `green` and `missing`, in words, are what counts here."""
    # Imported here, because it brings the Kafka client and the fold.
    from streams.health import platform_status

    return await platform_status(settings)


def watch(settings: Settings, *, supervisor: int) -> int:
    """Show the start until the platform is green, then the last screen; return the exit code."""
    console = Console(highlight=False)
    with Screen(console) as screen:
        run = _watch_children(settings, screen, supervisor)
        if run.get("phase") != "running":
            if run.get("failure"):
                console.print(run["failure"], soft_wrap=True)
            return FAILED
        screen.begin(_GREEN)
        status = asyncio.run(_watch_green(settings, screen))
        if status.get("green"):
            screen.finish(_GREEN)
    run = read_run(settings.data_path)
    if run.get("phase") != "running":
        return FAILED
    if not status.get("green"):
        console.print(f"Not green after {GREEN_TIMEOUT_S:.0f} s: {_missing(status)}.", soft_wrap=True)
        return UNHEALTHY
    nodes = asyncio.run(_list_nodes(settings))
    show_summary(console, run, status, nodes=nodes, bootstrap=settings.bootstrap)
    return OK


def _watch_children(settings: Settings, screen: Screen, supervisor: int) -> dict[str, Any]:
    """Follow the run file until everything is started or has failed, and return it."""
    while True:
        run = read_run(settings.data_path)
        # The file may still be that of the run before.
        is_current = run.get("supervisor", {}).get("pid") == supervisor
        if is_current:
            _show_children(screen, run["children"])
        if is_current and run["phase"] != "starting":
            return run
        if find_holder(settings.data_path) is None:
            return run if is_current else {}
        time.sleep(_POLL_S)


def _show_children(screen: Screen, children: list[dict[str, Any]]) -> None:
    for child in children:
        if child["state"] != "waiting":
            screen.begin(child["name"])
        if child["state"] in {"running", "done"}:
            screen.finish(child["name"])


async def _watch_green(settings: Settings, screen: Screen) -> dict[str, Any]:
    """Ask until the platform is green, the time is over or the supervisor stops; return the last answer."""
    deadline = time.monotonic() + GREEN_TIMEOUT_S
    status: dict[str, Any] = {}
    while time.monotonic() < deadline and read_run(settings.data_path).get("phase") == "running":
        with contextlib.suppress(OSError, TimeoutError):
            status = await ask_platform_status(settings)
            if status.get("green"):
                return status
            screen.detail(_GREEN, _missing(status))
        await asyncio.sleep(_POLL_S)
    return status


async def _list_nodes(settings: Settings) -> list[tuple[str, str, str]]:
    """Return id, place and status of each node that is there."""
    from streams.reading import read_platform
    from tables.views import node_status

    reading = await read_platform(settings.bootstrap, settings.prefix)
    there = [row for row in reading.state.nodes.values() if row.status == "active"]
    return [(row.node, f"port {row.port}", node_status(reading.state, row)) for row in there]


def _missing(status: dict[str, Any]) -> str:
    return "; ".join(map(str, status.get("missing", []))) or "no answer yet"


def main(argv: list[str]) -> int:
    """Watch the platform whose supervisor has the pid in `argv[0]`."""
    try:
        return watch(load_settings(), supervisor=int(argv[0]))
    except KeyboardInterrupt:
        # Ctrl-C is for the supervisor, which says itself what it stops.
        return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
