"""`apps exec -it`: a terminal on either side, the client a process of its own, typed at through a pty."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agents.spawner import ROOT
from agents.terminals import TerminalExecution, set_size, start_in_terminal
from sdk.contract.frames import FrameError, Terminal, decode_size, encode_size
from tests.agents.test_exec import APP, TOKEN, Node, play
from tests.agents.waiting import until

#: `apps exec -it` behind its options: nothing but the client, so that no Kafka is needed to find the node.
CLIENT = f"""
import asyncio, sys
import click
from sdk.contract.frames import Start
from streams.commands import CommandError
from streams.commands.executing import execute
from streams.commands.raw_terminal import read_terminal
start = Start({APP!r}, sys.argv[2:], 0, read_terminal())
try:
    sys.exit(asyncio.run(execute("127.0.0.1", int(sys.argv[1]), {TOKEN!r}, start)))
except CommandError as error:
    print(error.message)
    sys.exit(error.exit_code)
except click.exceptions.Exit as end:
    sys.exit(end.exit_code)
"""


class Person:
    """Who sits at a terminal in which the client runs."""

    def __init__(self, client: TerminalExecution) -> None:
        self.client = client
        self.seen = b""
        self.before = termios.tcgetattr(client._master)
        self.code = asyncio.ensure_future(client.pump(self._see))

    async def _see(self, _kind: bytes, content: bytes) -> None:
        self.seen += content

    async def type(self, keys: bytes) -> None:
        """Press keys."""
        await self.client.write(keys)

    async def sees(self, what: bytes) -> None:
        """Wait for it, and look for what comes after it the next time."""
        try:
            await until(lambda: what in self.seen)
        except TimeoutError:
            raise AssertionError(f"{what!r} does not come; seen: {self.seen!r}") from None
        self.seen = self.seen.partition(what)[2]

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        set_size(self.client._master, rows, columns)

    async def ends(self) -> int:
        """The client's exit code; its terminal is as it was."""
        async with asyncio.timeout(30):
            code = await self.code
        assert termios.tcgetattr(self.client._master) == self.before
        self.client.kill()
        return code


async def sit_down(node: Node, *command: str) -> Person:
    """A person before `apps exec -it APP -- COMMAND`."""
    argv = [sys.executable, "-c", CLIENT, str(node.port), *command]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    terminal = Terminal(30, 100, "vt100")
    client = await start_in_terminal(argv, terminal, directory=ROOT, env=env, enter=None)
    return Person(client)


def at_terminal(folder: Path, act: Callable[[Node, Person], Awaitable[None]], *command: str) -> None:
    """Run `act` with a person who has just begun this command."""

    async def begin(node: Node) -> None:
        person = await sit_down(node, *command)
        try:
            await act(node, person)
        finally:
            person.client.kill()
            await asyncio.gather(person.code, return_exceptions=True)

    play(folder, begin)


def test_a_shell_has_the_apps_surroundings_and_obeys_the_keys(tmp_path: Path) -> None:
    """Size, kind and environment are right; Ctrl-C ends what it runs and not the shell, Ctrl-D ends the shell."""

    async def act(_node: Node, person: Person) -> None:
        await person.type(b"stty size; echo $TERM-$MINE; tty >/dev/null && echo ter''minal\r")
        await person.sees(b"30 100")
        await person.sees(b"vt100-1")
        await person.sees(b"terminal")
        # The program says so itself: a shell that is just starting one may swallow the signal.
        await person.type(b'python3 -c \'import time; print("be" + "gun", flush=True); time.sleep(600)\'\r')
        await person.sees(b"begun")
        await person.type(b"\x03")
        await person.type(b"echo still he''re\r")
        await person.sees(b"still here")
        await person.type(b"exit 7\r")
        assert await person.ends() == 7

    at_terminal(tmp_path, act, "sh")


def test_ctrl_d_is_the_end_of_input(tmp_path: Path) -> None:
    """A program that reads to the end goes on there."""

    async def act(_node: Node, person: Person) -> None:
        await person.sees(b"ready")
        await person.type(b"one\r")
        await person.sees(b"one")
        await person.type(b"\x04")
        await person.sees(b"read 4")
        assert await person.ends() == 0

    read = "import sys; print('ready', flush=True); print('read', len(sys.stdin.read()))"
    at_terminal(tmp_path, act, "python3", "-c", read)


def test_new_size_of_the_window_is_handed_on(tmp_path: Path) -> None:
    """The program hears of it as of any window's."""
    show = (
        "import os, signal\n"
        "signal.signal(signal.SIGWINCH, lambda *_: print(tuple(os.get_terminal_size()), flush=True))\n"
        "print('ready', flush=True)\n"
        "input()"
    )

    async def act(_node: Node, person: Person) -> None:
        await person.sees(b"ready")
        person.resize(41, 132)
        await person.sees(b"(132, 41)")
        await person.type(b"\r")
        assert await person.ends() == 0

    at_terminal(tmp_path, act, "python3", "-c", show)


def test_terminal_is_put_back_when_the_command_cannot_start(tmp_path: Path) -> None:
    """And the reason is readable."""

    async def act(_node: Node, person: Person) -> None:
        await person.sees(b"Refused: cannot start '/no/such'")
        assert await person.ends() == 127

    at_terminal(tmp_path, act, "/no/such")


def test_terminal_is_put_back_when_the_client_is_told_to_end(tmp_path: Path) -> None:
    """Of the session nothing is left, background and foreground."""

    async def act(node: Node, person: Person) -> None:
        await person.type(b"sleep 601 & echo be''gun; sleep 602\r")
        await person.sees(b"begun")
        await until(lambda: len(node.beside()) == 3)
        os.kill(person.client._pid, signal.SIGTERM)
        assert await person.ends() == 128 + signal.SIGTERM
        await until(lambda: not node.beside())

    at_terminal(tmp_path, act, "sh")


def test_terminal_is_put_back_when_the_agent_goes(tmp_path: Path) -> None:
    """The client says so and ends."""

    async def act(node: Node, person: Person) -> None:
        await person.type(b"echo be''gun\r")
        await person.sees(b"begun")
        await node.endpoint.close()
        await person.sees(b"has gone, and the command with it")
        assert await person.ends() == 1

    at_terminal(tmp_path, act, "sh")


def test_command_ends_when_its_app_does(tmp_path: Path) -> None:
    """As one without a terminal."""

    async def act(node: Node, person: Person) -> None:
        await person.type(b"echo be''gun\r")
        await person.sees(b"begun")
        await node.driver.kill(APP, 7)
        assert await person.ends() == 128 + signal.SIGKILL

    at_terminal(tmp_path, act, "sh")


def test_sizes_are_checked() -> None:
    """What is no size is no frame."""
    assert decode_size(encode_size(24, 80)) == (24, 80)
    assert decode_size(encode_size(1 << 20, 0)) == (0xFFFF, 0)
    for said in (b"", b"24", b"24 80 1", b"-1 80", b"24 65536", b"a b", b"9" * 5_000 + b" 1"):
        with pytest.raises(FrameError, match="no size of a terminal"):
            decode_size(said)
