"""`cli.py apps exec`: run a command where an app runs. Shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands import FAILED, NOT_FOUND, USAGE, CommandError
from streams.commands.shared import HelpfulCommand, complete_apps, platform_options, read, run, settings_of
from streams.commands.shared_apps import find_app

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from sdk.contract.frames import Exit, Start

#: The agent answers in some ms; on an overloaded machine it may take seconds.
_CONNECT_WITHIN_S = 10.0
#: Exit codes as `timeout` and shells have them: took too long; could not be started; ended by a signal.
_TOO_LONG, _NOT_STARTED, _BY_SIGNAL = 124, 127, 128
_CHUNK_BYTES = 32 << 10
_SWITCHED = "101"
#: An agent whose machine is gone is asked after 10 s, and given up after three more tries.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


@click.command("exec", cls=HelpfulCommand, context_settings={"ignore_unknown_options": False})
@click.argument("app", shell_complete=complete_apps)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "-i", "--interactive", is_flag=True, help="Hand on what is typed here; a pipe is handed on without it."
)
@click.option(
    "-t", "--terminal", "wants_terminal", is_flag=True, help="Give it a terminal, this one; includes -i."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1, max=86_400.0),
    metavar="SECONDS",
    help="Kill it after this time and exit with 124; a day if not given.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="What the node asks for; `exec-token` of the data directory if not given.",
)
@platform_options
def exec_app(
    app: str,
    command: tuple[str, ...],
    timeout_s: float | None,
    token_file: Path | None,
    bootstrap_servers: str | None,
    prefix: str | None,
    *,
    interactive: bool,
    wants_terminal: bool,
) -> None:
    r"""Run COMMAND where an app runs: in its directory, or its container, with its environment, secrets included.

    Without a shell. What comes through a pipe is its input, its output is streamed, and its exit code is ours. Ctrl-C
    interrupts it, a second one kills it; it also ends when the app does. With -it it has a terminal: a shell or an
    editor works, every key goes to it, Ctrl-C and Ctrl-D too, and it ends when its program or this one does.

    \b
    Examples:
      python cli.py apps exec thermostat-1 -- env
      python cli.py apps exec -it thermostat-1 -- sh
      python cli.py apps exec thermostat-1 -- python3 -c "import os; print(os.getcwd())"
      echo 'print(6 * 7)' | python cli.py apps exec thermostat-1 --timeout 10 -- python3 -
    """
    from sdk.contract.frames import Start
    from streams.commands.raw_terminal import has_terminal, read_terminal
    from streams.local.exec_token import token_path

    if wants_terminal and not has_terminal():
        raise CommandError("-t needs a terminal, and standard input or output is none: leave it out.", USAGE)

    settings = settings_of(bootstrap_servers, prefix)
    token = _read_token(token_file or token_path(settings))
    state = run(read(settings)).state
    name = find_app(state, app)
    node = state.nodes.get(state.apps[name].node)
    if node is None:
        raise CommandError(f"{name} has not run anywhere yet.", NOT_FOUND)
    terminal = read_terminal() if wants_terminal else None
    start = Start(name, list(command), round((timeout_s or 0) * 1_000), terminal)
    raise click.exceptions.Exit(run(execute(node.ip, node.port, token, start, is_typed=interactive)))


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no token"
        raise CommandError(
            f"The token of this platform's nodes cannot be read from {path}: {why}. "
            f"`up` makes it in its data directory; --token-file names another place.",
            USAGE,
        ) from None


async def execute(ip: str, port: int, token: str, start: Start, *, is_typed: bool = False) -> int:
    """Run a command by the agent that listens there, with our standard streams; the exit code to end with.

    Its input is ours if that is a pipe or a file, or `is_typed`, or if it has a terminal.

    Raises:
        CommandError: nobody answers there, or it is refused.
    """
    try:
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            reader, writer = await asyncio.open_connection(ip, port)
    except (OSError, TimeoutError) as error:
        raise _silent(ip, port, error) from None
    try:
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await _enter(reader, writer, token, f"{ip}:{port}")
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError) as error:
            raise _silent(ip, port, error) from None
        try:
            return await _talk(reader, writer, start, is_typed=is_typed)
        except (OSError, EOFError):
            raise CommandError(f"The agent at {ip}:{port} has gone, and the command with it.") from None
    finally:
        writer.transport.abort()


def _silent(ip: str, port: int, error: Exception) -> CommandError:
    return CommandError(f"The agent at {ip}:{port} does not answer ({str(error) or 'it takes too long'}).")


async def _enter(reader: StreamReader, writer: StreamWriter, token: str, where: str) -> None:
    """Have the connection upgraded."""
    from sdk.contract.frames import PROTOCOL

    head = (
        f"POST /exec HTTP/1.1\r\nHost: {where}\r\nContent-Length: 0\r\nAuthorization: Bearer {token}\r\n"
        f"Connection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n"
    )
    writer.write(head.encode("ascii"))
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status = answer.split(" ", 2)[1]
    if status != _SWITCHED:
        why = (await reader.read(_CHUNK_BYTES)).decode(errors="replace")
        raise CommandError(f"Refused by the agent at {where}: {why or status}.", FAILED)


async def _talk(reader: StreamReader, writer: StreamWriter, start: Start, *, is_typed: bool) -> int:
    """Everything after the connection was upgraded."""
    if start.terminal is None:
        return await _exchange(reader, writer, start, _hand_on_interrupts(writer), is_typed=is_typed)

    from sdk.contract import frames
    from streams.commands.raw_terminal import raw_terminal

    _keep_alive(writer)

    def resize(rows: int, columns: int) -> None:
        writer.write(frames.encode_frame(frames.RESIZE, frames.encode_size(rows, columns)))

    try:
        with raw_terminal(resize):
            return await _exchange(reader, writer, start, [], is_typed=True)
    except asyncio.CancelledError:
        raise click.exceptions.Exit(_BY_SIGNAL + signal.SIGTERM) from None


def _keep_alive(writer: StreamWriter) -> None:
    """Notice an agent whose machine has gone: nobody can leave a raw terminal by Ctrl-C."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def _exchange(
    reader: StreamReader, writer: StreamWriter, start: Start, interrupts: list[int], *, is_typed: bool
) -> int:
    import msgspec

    from sdk.contract import frames

    # So much of our input may still be on its way; the agent's word gives room again.
    room = threading.Semaphore(frames.STDIN_WINDOW // _CHUNK_BYTES)
    writer.write(frames.encode_frame(frames.START, msgspec.json.encode(start)))
    _feed_input(writer, room, is_typed=is_typed)
    try:
        while True:
            kind, content = await frames.read_frame(reader.readexactly)
            if kind in (frames.STDOUT, frames.STDERR):
                _print(content, sys.stdout if kind == frames.STDOUT else sys.stderr)
            elif kind == frames.TAKEN:
                room.release()
            elif kind == frames.EXIT:
                return _code_of(msgspec.json.decode(content, type=frames.Exit), start)
            elif kind == frames.FAILED:
                raise CommandError(f"Refused: {content.decode(errors='replace')}.", _NOT_STARTED)
    except (OSError, EOFError):
        if len(interrupts) > 1:
            return _BY_SIGNAL + signal.SIGINT
        raise


def _code_of(end: Exit, start: Start) -> int:
    if end.why == "timeout":
        click.echo(f"Killed: it took longer than {start.timeout_ms / 1_000:g} s.", err=True)
        return _TOO_LONG
    return end.code if end.code >= 0 else _BY_SIGNAL - end.code


def _print(content: bytes, to: Any) -> None:
    to.buffer.write(content)
    to.buffer.flush()


def _hand_on_interrupts(writer: StreamWriter) -> list[int]:
    """Send the first Ctrl-C on, and close with the second; the list has one item for each."""
    from sdk.contract import frames

    seen: list[int] = []

    def note() -> None:
        seen.append(signal.SIGINT)
        if len(seen) == 1:
            writer.write(frames.encode_frame(frames.SIGNAL, str(int(signal.SIGINT)).encode()))
        else:
            writer.transport.abort()

    # Not in the main thread, nobody presses Ctrl-C for us.
    with contextlib.suppress(ValueError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, note)
    return seen


def _feed_input(writer: StreamWriter, room: threading.Semaphore, *, is_typed: bool) -> None:
    """Send what comes through our standard input, from a thread: it may be a file, a pipe, or never say a word."""
    from sdk.contract import frames

    if sys.stdin is None or (sys.stdin.isatty() and not is_typed):
        writer.write(frames.encode_frame(frames.STDIN_END))
        return
    loop = asyncio.get_running_loop()

    def feed() -> None:
        # The loop is closed when the command has ended before its input.
        with contextlib.suppress(RuntimeError, OSError):
            while content := _read_some():
                room.acquire()
                loop.call_soon_threadsafe(writer.write, frames.encode_frame(frames.STDIN, content))
            loop.call_soon_threadsafe(writer.write, frames.encode_frame(frames.STDIN_END))

    threading.Thread(target=feed, daemon=True, name="stdin").start()


def _read_some() -> bytes:
    try:
        # Past Python's own buffer: its lock cannot be held by a thread when the interpreter ends.
        return os.read(sys.stdin.fileno(), _CHUNK_BYTES)
    except (OSError, ValueError):
        return bytes(sys.stdin.buffer.read(_CHUNK_BYTES))
