"""Something that is looked at all the time, in a thread of its own, while a block runs. Shell."""

from __future__ import annotations

import threading
from typing import Self


class Looking:
    """Looks again and again from the begin of a `with` block to its end; what a look does is up to `look`."""

    def __init__(self, name: str, every_s: float) -> None:
        """Look every `every_s` seconds, in a thread of this name."""
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name=name, daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more; returns when the last look is over."""
        self._over.set()
        self._thread.join()

    def look(self) -> None:
        """Look once."""
        raise NotImplementedError

    def _look_on(self) -> None:
        while not self._over.wait(self._every_s):
            self.look()
