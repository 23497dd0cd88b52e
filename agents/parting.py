"""Processes that end with the agent that started them, by the kernel's own hand. Shell; part of the process driver.

An app with `on_isolation = "stop"` must not run where nobody keeps that promise: its agent does, so it ends with its
agent, unless another agent is to take its place and adopt it.
"""

import ctypes
import os
import signal
from collections.abc import Callable

from agents.limits import Enter

_PR_SET_PDEATHSIG = 1
#: Loaded before any fork: between fork and exec nothing may be imported.
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def ends_with_us(enter: Enter) -> Callable[[], None]:
    """What a process does between fork and exec, after `enter`, to be killed when the thread that forked it ends.

    Its own children are not: they are ended with the rest of the node.
    """
    parent = os.getpid()

    def part() -> None:
        if enter is not None:
            enter()
        if _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):
            raise OSError(ctypes.get_errno(), "the end of the agent cannot be asked for")
        # It may have ended between the fork and this.
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return part
