"""Calls to a docker daemon from an event loop that must not wait: threads with a bound. Shell of the agents.

Rules:
1. The loop never blocks: each call runs in one of a few threads, and whoever asked waits a bounded time.
2. A daemon that hangs costs at most `CALLS_MAX` waiting calls; further ones fail at once.
3. One line in the log when it stops answering, one when it answers again.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from agents.containers import ContainerError, Containers, DaemonAwayError

log = logging.getLogger("watchkeep.docker")

T = TypeVar("T")

#: Calls at once: four apps of a node that start together need not wait for each other.
THREADS = 4
#: Calls that run or wait; a node has a few apps, each with one call under way.
CALLS_MAX = 64
#: Whether a daemon is there at all. It answers in 2 ms; an agent's start waits for this.
PING_WITHIN_S = 3.0
#: A look, a signal, a removal: 5 to 80 ms, on an overloaded machine some seconds.
CALL_WITHIN_S = 10.0
#: Create and start: 0.1 to 0.3 s, but a cold image on a busy disk takes longer. Below the 30 s that an app has
#: to beat.
START_WITHIN_S = 25.0


class DockerCalls:
    """A daemon's calls, made in threads."""

    def __init__(self, connect: Callable[[], Containers]) -> None:
        self._connect = connect
        self._containers: Containers | None = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
        self._under_way: set[Future[object]] = set()
        self._connecting = threading.Lock()
        self._is_away = False

    async def call(self, act: Callable[[Containers], T], within_s: float = CALL_WITHIN_S) -> T:
        """What `act` returns.

        Raises:
            ContainerError: the daemon refused.
            DaemonAwayError: it did not answer in time; the call may still have its effect.
        """
        if len(self._under_way) >= CALLS_MAX:
            raise DaemonAwayError(f"the docker daemon does not answer: {CALLS_MAX} calls wait for it")
        future = self._pool.submit(self._in_thread, act)
        self._under_way.add(future)  # type: ignore[arg-type]  # a future of anything
        future.add_done_callback(self._under_way.discard)
        try:
            async with asyncio.timeout(within_s):
                answer = await asyncio.wrap_future(future)
        except TimeoutError:
            self._note(is_away=True)
            raise DaemonAwayError(f"the docker daemon did not answer within {within_s:g} s") from None
        except ContainerError as error:
            self._note(is_away=isinstance(error, DaemonAwayError))
            raise
        self._note(is_away=False)
        return answer

    def close(self) -> None:
        """Begin nothing more; a call that hangs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._containers is not None:
            self._containers.close()

    def _in_thread(self, act: Callable[[Containers], T]) -> T:
        with self._connecting:
            if self._containers is None:
                self._containers = self._connect()
        return act(self._containers)

    def _note(self, *, is_away: bool) -> None:
        if is_away != self._is_away:
            self._is_away = is_away
            log.warning("the docker daemon %s", "does not answer" if is_away else "answers again")
