"""Starts node agents as processes in sessions of their own. Shell of the agents.

Two ways. Plain: a fresh interpreter each, 170 ms of CPU for imports. Template: a process that has imported
everything forks the agents, which then cost 20 ms and a third of the memory; it is started again when it dies,
and the plain way is taken meanwhile.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from agents import procfs

log = logging.getLogger("watchkeep.spawner")

ROOT = Path(__file__).resolve().parent.parent
#: A fork takes some ms, a fresh template 0.2 s, all of it more on a machine that is overloaded.
ANSWER_WITHIN_S = 10.0
_MESSAGE_BYTES_MAX = 8_192


class Spawner(Protocol):
    """Starts an agent with a configuration file and a log, and knows how it ended."""

    async def spawn(self, config: Path, log_fd: int) -> int:
        """Start an agent; its pid. OSError if that cannot be done."""
        ...

    async def reap(self, pid: int) -> int | None:
        """Exit code of an agent that has ended, None if nobody knows."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class PlainSpawner:
    """A fresh interpreter for each agent."""

    async def spawn(self, config: Path, log_fd: int) -> int:
        """Start `python -m agents.node`."""
        process = subprocess.Popen(
            [sys.executable, "-m", "agents.node", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            cwd=ROOT,
            start_new_session=True,
            env=starting_environment(),
        )
        process.returncode = 0  # Ours to reap, not its destructor's to complain about.
        return process.pid

    async def reap(self, pid: int) -> int | None:
        """As the parent."""
        return procfs.reap(pid)

    def close(self) -> None:
        """Nothing to free."""


class TemplateSpawner:
    """Forks agents from a template process."""

    def __init__(self, template: tuple[int, socket.socket] | None = None) -> None:
        """Use this template, or begin one."""
        self._plain = PlainSpawner()
        self._lock = asyncio.Lock()
        self._control: socket.socket | None = None
        self._template = 0
        if template is None:
            self._start()
        else:
            self._template, self._control = template
            self._control.setblocking(False)

    async def spawn(self, config: Path, log_fd: int) -> int:
        """Ask the template; without it start plainly."""
        answer = await self._ask(f"spawn {config}", [log_fd])
        if answer.startswith("pid "):
            return int(answer[4:])
        log.warning("the template does not serve (%s): starting plainly", answer or "gone")
        return await self._plain.spawn(config, log_fd)

    async def reap(self, pid: int) -> int | None:
        """The template is the parent, of those it forked."""
        answer = await self._ask(f"reap {pid}", [])
        if answer.startswith("code ") and answer != "code none":
            return int(answer[5:])
        return procfs.reap(pid)

    def close(self) -> None:
        """Let the template end."""
        if self._control is not None:
            self._control.close()
            self._control = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "agents.template", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                # Out of the reach of a Ctrl-C in our terminal; it ends with us, by its socket.
                start_new_session=True,
                pass_fds=[theirs.fileno()],
                env=starting_environment(),
            )
        process.returncode = 0
        self._template = process.pid
        ours.setblocking(False)
        self._control = ours

    async def _ask(self, message: str, fds: list[int]) -> str:
        """The template's answer, empty if there is none; then a new template is begun."""
        async with self._lock:
            if self._control is None:
                return ""
            try:
                socket.send_fds(self._control, [message.encode()], fds)
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    loop = asyncio.get_running_loop()
                    answer = (await loop.sock_recv(self._control, _MESSAGE_BYTES_MAX)).decode()
            except (OSError, TimeoutError):
                answer = ""
            if not answer:
                self.close()
                procfs.send_signal(self._template, signal.SIGKILL)
                procfs.reap(self._template)
                self._start()
            return answer


def starting_environment() -> dict[str, str]:
    """Our environment for what we start; compiled modules allowed, each start pays for them else."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
