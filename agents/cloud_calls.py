"""Calls to a cloud from an event loop that must not wait: threads, bounds, and tries again. Shell of the agents.

Rules:
1. The loop never blocks: each call runs in one of a few threads, and whoever asked waits a bounded time.
2. A cloud that hangs costs at most `CALLS_MAX` waiting calls; further ones fail at once.
3. What the cloud calls busy is asked again, at most `TRIES_MAX` times and within the bound. Every call of the port may
   be made twice.
4. One line in the log when the cloud stops answering, one when it answers again; never a credential.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

from agents.machines import CloudAwayError, CloudError, Machines

log = logging.getLogger("watchkeep.cloud")

T = TypeVar("T")

#: Calls at once; each thread has a connection and a login of its own. Creating and destroying takes minutes on some
#: clouds, so there are more than for a docker daemon.
THREADS = 8
#: Calls that run or wait: a pool has tens of machines, each with one call under way.
CALLS_MAX = 64
#: Lists of some hundred machines, where the driver asks once or twice for each of them.
LIST_WITHIN_S = 120.0
#: GCE's driver waits for the end of an operation, up to 180 s; the others return in some seconds.
MAKE_WITHIN_S = 240.0
#: Azure's driver waits up to 100 s for the machine to go and then removes interface and disk.
DESTROY_WITHIN_S = 300.0
#: Stop and start return when they are accepted, on GCE when they are done.
SIGNAL_WITHIN_S = 240.0
TRIES_MAX = 5
#: Before the second try; it doubles with each further one, and is never less than what the cloud asks for.
FIRST_PAUSE_S = 1.0
#: The longest that a cloud is believed when it asks for a pause.
RETRY_AFTER_S_MAX = 60.0


class _Threads:
    """A few threads that the end of the process does not wait for, as it does for those of the standard library.

    A request that hangs would keep the provisioner for up to half a minute after everything else has ended.
    """

    def __init__(self, count: int) -> None:
        self._left = count
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_closed = False

    def submit(self, act: Callable[[], T]) -> Future[T]:
        """Do it in the next thread that is free."""
        future: Future[T] = Future()

        def run() -> None:
            if self._is_closed or not future.set_running_or_notify_cancel():
                future.cancel()
                return
            try:
                answer = act()
            except BaseException as error:  # noqa: BLE001 - whoever asked gets it
                future.set_exception(error)
            else:
                future.set_result(answer)

        self._work.put(run)
        if self._left:
            self._left -= 1
            threading.Thread(target=self._serve, name=f"cloud-{self._left}", daemon=True).start()
        return future

    def close(self) -> None:
        """Begin nothing more; each thread ends when its call does."""
        self._is_closed = True
        for _ in range(THREADS):
            self._work.put(None)

    def _serve(self) -> None:
        while (run := self._work.get()) is not None:
            run()


class CloudCalls:
    """A cloud's calls, made in threads."""

    def __init__(self, connect: Callable[[], Machines], *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._connect = connect
        self._first_pause_s = first_pause_s
        self._of_thread = threading.local()
        self._threads = _Threads(THREADS)
        self._under_way: set[Future[object]] = set()
        self._is_away = False

    async def call(self, act: Callable[[Machines], T], within_s: float) -> T:
        """What `act` returns; it may run several times.

        Raises:
            CloudError: the cloud refused.
            CloudAwayError: it did not answer in time or stayed busy; the call may still have its effect.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + within_s
        pause_s = self._first_pause_s
        for tries_left in range(TRIES_MAX - 1, -1, -1):
            try:
                answer = await self._once(act, until_s - loop.time(), within_s)
            except CloudAwayError as error:
                wait_s = max(pause_s, min(error.retry_after_s, RETRY_AFTER_S_MAX))
                if not tries_left or loop.time() + wait_s >= until_s:
                    self._note(is_away=True, why=str(error))
                    raise
                await asyncio.sleep(wait_s)
                pause_s *= 2
            except CloudError:
                self._note(is_away=False)
                raise
            else:
                self._note(is_away=False)
                return answer
        raise AssertionError

    def close(self) -> None:
        """Begin nothing more; a call that hangs is not waited for."""
        self._threads.close()

    async def _once(self, act: Callable[[Machines], T], left_s: float, within_s: float) -> T:
        if len(self._under_way) >= CALLS_MAX:
            raise CloudAwayError(f"the cloud does not answer: {CALLS_MAX} calls wait for it")
        future = self._threads.submit(lambda: self._in_thread(act))
        self._under_way.add(future)  # type: ignore[arg-type]  # a future of anything
        future.add_done_callback(self._under_way.discard)
        try:
            async with asyncio.timeout(left_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise CloudAwayError(f"the cloud did not answer within {within_s:g} s") from None

    def _in_thread(self, act: Callable[[Machines], T]) -> T:
        """Libcloud's connections keep the state of a request: each thread has its own."""
        machines: Machines | None = getattr(self._of_thread, "machines", None)
        if machines is None:
            machines = self._of_thread.machines = self._connect()
        return act(machines)

    def _note(self, *, is_away: bool, why: str = "") -> None:
        if is_away != self._is_away:
            self._is_away = is_away
            log.warning("the cloud does not answer: %s" if is_away else "the cloud answers again%s", why)
