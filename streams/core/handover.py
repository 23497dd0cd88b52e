"""What the core thread hands to the Faust thread and back: the one place where two threads meet. Shell.

The core folds and renders; the `views` processor writes. Rows wait in an outbox, newest version only, so a slow
writer costs memory for one version of each row and no more.
"""

import asyncio
import threading
from collections.abc import Callable
from itertools import islice

from tables.views import ViewKey


class Handover:
    """Rows on their way to the Faust tables, and who may write them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[ViewKey, bytes | None] = {}
        self._folded = -1
        self._owner_loop: asyncio.AbstractEventLoop | None = None
        self._arrived: asyncio.Event | None = None
        self._owns = False
        #: Called in the core's thread when ownership of the view changes.
        self._on_owner: Callable[[bool], None] | None = None
        self._core_loop: asyncio.AbstractEventLoop | None = None

    # --- core side ----------------------------------------------------------------------------------

    def attach_core(self, loop: asyncio.AbstractEventLoop, on_owner: Callable[[bool], None]) -> None:
        """The core runs in `loop` and wants to know of ownership."""
        with self._lock:
            self._core_loop, self._on_owner = loop, on_owner
            owns = self._owns
        loop.call_soon_threadsafe(on_owner, owns)

    def offer(self, rows: dict[ViewKey, bytes | None], *, folded: int) -> None:
        """Rows as of `folded`; None is a row that is gone."""
        with self._lock:
            self._rows.update(rows)
            self._folded = folded
            loop, arrived = self._owner_loop, self._arrived
        if loop is not None and arrived is not None and not loop.is_closed():
            loop.call_soon_threadsafe(arrived.set)

    # --- Faust side ---------------------------------------------------------------------------------

    def attach_writer(self) -> None:
        """The Faust loop that will write."""
        with self._lock:
            self._owner_loop = asyncio.get_running_loop()
            self._arrived = asyncio.Event()

    def set_owner(self, owns: bool) -> None:
        """Faust gave this worker the partition, or took it."""
        with self._lock:
            self._owns = owns
            if not owns:
                self._rows.clear()
            loop, call = self._core_loop, self._on_owner
        if loop is not None and call is not None and not loop.is_closed():
            loop.call_soon_threadsafe(call, owns)

    def is_owner(self) -> bool:
        """Whether this worker may write the tables, as far as Faust has said."""
        return self._owns

    def take(self, most: int | None = None) -> dict[ViewKey, bytes | None]:
        """The rows that wait, at most `most`, the longest waiting first; they wait no more."""
        with self._lock:
            return {view: self._rows.pop(view) for view in list(islice(self._rows, most))}

    def waiting(self) -> int:
        """How many rows wait."""
        return len(self._rows)

    async def wait_folded(self, offset: int) -> None:
        """Return when the core has folded `offset`."""
        assert self._arrived is not None
        while self._folded < offset:
            self._arrived.clear()
            if self._folded >= offset:
                return
            await self._arrived.wait()
