"""When each session is to be looked at: a ring of buckets, so that it costs the same however many wait. Pure.

1. Whoever is put under a time is taken at the first `take` past it, or a bucket's width sooner: the taker looks what
   the time really is, and puts back whoever has some left.
2. A bucket is named by the time it begins at; times that are over go to the first one.
"""

#: Width of a bucket: a power of two near the 250 ms between two ticks. More makes the taker look at sources in vain,
#: less makes it look into empty buckets.
_BITS = 8


class Deadlines:
    """Sources by the clock at which they are to be looked at."""

    def __init__(self, clock_ms: int = 0) -> None:
        self._low = clock_ms >> _BITS
        self._buckets: dict[int, list[str]] = {}

    def put(self, due_ms: int, source: str) -> None:
        """Look at `source` once the clock is past `due_ms`."""
        at = due_ms >> _BITS
        at = max(at, self._low)
        bucket = self._buckets.get(at)
        if bucket is None:
            self._buckets[at] = [source]
        else:
            bucket.append(source)

    def take(self, clock_ms: int) -> list[str]:
        """Everybody whose time has come at `clock_ms`, and whose time comes with the bucket that it is in."""
        now = clock_ms >> _BITS
        found: list[str] = []
        for at in range(self._low, now + 1):
            found += self._buckets.pop(at, ())
        self._low = now
        return found

    def remove(self, source: str) -> None:
        """Look at `source` no more. Goes through all that wait: it is for what people change."""
        for at, bucket in self._buckets.items():
            if source in bucket:
                self._buckets[at] = [each for each in bucket if each != source]
