"""What streams and joins have in common: items one after the other, and a close from anywhere. Shell of the SDK."""

import threading
from collections import deque
from types import TracebackType
from typing import Generic, Self, TypeVar

from sdk.sensor_records import SensorRecords

T = TypeVar("T")


def check_count(n: int | None) -> None:
    """Raise ValueError unless `n` is a number of items to end after."""
    if n is not None and n < 0:
        raise ValueError(f"n: {n} is negative; allowed: 0 or more, or None for no end")


class SensorItems(Generic[T]):
    """Iterates; a context manager too. One thread reads, and any thread may close."""

    def __init__(self, records: SensorRecords, n: int | None) -> None:
        self._records = records
        self._left = n
        self._ready: deque[T] = deque()
        self._reading = threading.Lock()
        self._closed = False

    def _read(self) -> list[T]:
        """What has come; waits a moment for it."""
        raise NotImplementedError

    def _is_over(self) -> bool:
        """Whether nothing can come any more."""
        raise NotImplementedError

    @property
    def cut_off(self) -> int:
        """Values that retention had deleted before they could be read: there is less than was asked for."""
        return sum(self._records.cut_off.values())

    def __iter__(self) -> Self:
        """The iterator itself."""
        return self

    def __next__(self) -> T:
        """The next one; waits for it, however long Kafka is away."""
        with self._reading:
            while not (self._ready or self._closed or self._left == 0 or self._is_over()):
                self._ready += self._read()
            if self._ready and not self._closed and self._left != 0:
                self._left = self._left - 1 if self._left is not None else None
                return self._ready.popleft()
            # A consumer belongs to one thread: who closed meanwhile left it to this one.
            self._records.close()
        raise StopIteration

    def __enter__(self) -> Self:
        """The iterator itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let go of the consumer; what was not read is not given any more, and who waits for it is told."""
        self._closed = True
        if self._reading.acquire(blocking=False):
            try:
                self._records.close()
            finally:
                self._reading.release()
