"""What both entry points do first: command line, log, signals. Shell of the agents."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from agents.state import Identity

_LIBRARIES = ("aiokafka", "asyncio")


def config_path(argv: list[str], *, program: str) -> str:
    """The file after `--config`.

    Raises:
        SystemExit: the command line is anything else.
    """
    # By hand: argparse costs 10 ms of a start that is measured.
    if len(argv) != 2 or argv[0] != "--config":  # noqa: PLR2004
        raise SystemExit(f"usage: python -m {program} --config FILE")
    return argv[1]


def set_up_log(level: str) -> None:
    """Log to standard error; the Kafka client's own lines say each retry and are left out."""
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def on_stop(act: Callable[[], None]) -> None:
    """Call `act` on SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, act)


def boot_id() -> str:
    """The kernel's id of this boot, empty if it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def describe(identity: Identity) -> str:
    """The agent in a line of its log."""
    return f"{identity.reporter} of pool {identity.pool}"


def name_process(name: str) -> None:
    """Show `name` in `top` and `ps -o comm`: a forked agent has the command line of its provisioner."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
