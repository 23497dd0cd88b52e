"""Our own terminal while a command elsewhere has it: raw, its size told, put back whatever happens. Shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator

from sdk.contract.frames import SIZE_MAX, Terminal

#: What ends us while the terminal is raw; not Ctrl-C, which is a byte then.
_ENDS = (signal.SIGTERM, signal.SIGHUP)


def has_terminal() -> bool:
    """Whether somebody can type here and sees what comes."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def read_terminal() -> Terminal:
    """Its size and kind."""
    rows, columns = _size()
    return Terminal(rows, columns, os.environ.get("TERM", ""))


@contextlib.contextmanager
def raw_terminal(on_size: Callable[[int, int], None]) -> Iterator[None]:
    """Hand on each key as it is typed; `on_size` hears of new rows and columns. Belongs into the loop's main thread.

    A signal that would end us cancels the task instead, so that the terminal is put back.
    """
    before = termios.tcgetattr(sys.stdin)
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    loop.add_signal_handler(signal.SIGWINCH, lambda: on_size(*_size()))
    for number in _ENDS:
        loop.add_signal_handler(number, task.cancel)
    try:
        # What was typed already is for the command.
        tty.setraw(sys.stdin, termios.TCSADRAIN)
        yield
    finally:
        # What was typed and not read yet was meant for the command, not for the shell that comes back.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, before)
        for number in (signal.SIGWINCH, *_ENDS):
            loop.remove_signal_handler(number)


def _size() -> tuple[int, int]:
    try:
        size = os.get_terminal_size(sys.stdin.fileno())
    except OSError:
        return 0, 0
    return min(size.lines, SIZE_MAX), min(size.columns, SIZE_MAX)
