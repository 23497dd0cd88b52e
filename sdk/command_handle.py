"""What becomes of one command: the handle that `sdk.controllers.set` returns. Pure but for the clock."""

from __future__ import annotations

import threading
import time
from typing import Any, Literal

from sdk.contract.controllers import NOT_BOUND, NOT_YOURS, UNKNOWN_APP
from sdk.controller_errors import CommandExpiredError, CommandRejectedError, ControllerUnreachableError
from sdk.sensor_errors import NotBoundError, NotYoursError, UnknownAppError

#: `pending`: not known yet. `done`: the device did it. `rejected`: the platform or the device refused it, or a newer
#: command took its place. `expired`: the device did not act in time and will not. `unreachable`: no answer in time.
CommandState = Literal["pending", "done", "rejected", "expired", "unreachable"]

#: After a command's time, how long its end is waited for: a change of leader on a foreign broker (9 s) and some.
ANSWER_GRACE_S = 12.0

_ERRORS: dict[str, type[Exception]] = {
    UNKNOWN_APP: UnknownAppError,
    NOT_BOUND: NotBoundError,
    NOT_YOURS: NotYoursError,
}


class Handle:
    """A command on its way; may be looked at from any thread."""

    def __init__(self, command: str, timeout_s: float) -> None:
        #: Its id, the same as that of the request.
        self.command = command
        self._until_s = time.monotonic() + timeout_s + ANSWER_GRACE_S
        self._changed = threading.Condition()
        self._state: CommandState = "pending"
        self._reason = ""
        self._reported: Any = None

    def __repr__(self) -> str:
        """For people."""
        return f"<command {self.command}: {self.state}{self.reason and f', {self.reason}'}>"

    @property
    def state(self) -> CommandState:
        """Where it stands."""
        with self._changed:
            self._look()
            return self._state

    @property
    def reason(self) -> str:
        """Why it was not done; empty else."""
        with self._changed:
            self._look()
            return self._reason

    @property
    def reported(self) -> Any:
        """What the device reported; None before that."""
        return self._reported

    def wait(self, timeout_s: float | None = None) -> CommandState:
        """The state it ends in; `pending` if that takes longer than `timeout_s`. It always ends by itself."""
        asked_s = time.monotonic()
        with self._changed:
            while not self._look():
                now_s = time.monotonic()
                left_s = self._until_s - now_s
                if timeout_s is not None:
                    left_s = min(left_s, asked_s + timeout_s - now_s)
                    if asked_s + timeout_s <= now_s:
                        break
                self._changed.wait(max(0.0, left_s))
            return self._state

    async def wait_async(self, timeout_s: float | None = None) -> CommandState:
        """`wait` for programs with an event loop."""
        import asyncio

        return await asyncio.to_thread(self.wait, timeout_s)

    def result(self) -> Any:
        """What the device reported; waits for the end.

        Raises:
            UnknownAppError, NotBoundError, NotYoursError: of `sdk.sensor_errors`, said by the platform.
            CommandRejectedError: refused for another reason, or superseded.
            CommandExpiredError: not done in time, and not to be done any more.
            ControllerUnreachableError: no answer in time.
        """
        state = self.wait()
        if state == "rejected":
            for begin, error in _ERRORS.items():
                if self._reason.startswith(begin):
                    raise error(self._reason)
            raise CommandRejectedError(self._reason)
        if state == "expired":
            raise CommandExpiredError(self._reason)
        if state == "unreachable":
            raise ControllerUnreachableError(self._reason)
        return self._reported

    def end(self, state: CommandState, reason: str = "", reported: Any = None) -> None:
        """Called by the SDK: it has ended; the first end counts."""
        with self._changed:
            if self._state == "pending":
                self._state, self._reason, self._reported = state, reason, reported
                self._changed.notify_all()

    def _look(self) -> bool:
        """Whether it has ended; nobody's answer ends it too."""
        if self._state == "pending" and time.monotonic() >= self._until_s:
            self._state = "unreachable"
            self._reason = "it was sent, and no answer came in time; it may have been done"
            self._changed.notify_all()
        return self._state != "pending"
