"""One value of a sensor, and where it stands. Pure."""

from typing import Any, NamedTuple


class Point(NamedTuple):
    """One value of a stream."""

    value: Any
    #: When the device wrote it, ms UTC.
    at_ms: int
    offset: int
