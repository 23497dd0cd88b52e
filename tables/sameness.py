"""What a report says anew: a platform at rest reports the same thousands of times a second. Pure."""

import msgspec

from sdk.contract.heartbeats import AppEntry, PoolReport, Report

#: (app, generation)
Copy = tuple[str, int]

_pack = msgspec.msgpack.Encoder().encode
_unpack_rest = msgspec.msgpack.Decoder(list[tuple[str, int, int]]).decode
_unpack_all = msgspec.msgpack.Decoder(list[AppEntry]).decode


def pack_rest(report: Report | PoolReport, limit_ms: int) -> bytes | None:
    """The apps of a node packed, if all of them run and were heard lately; None if not.

    Two reports at rest say the same of their apps if these bytes are the same. How fresh the beats were is left out:
    nothing depends on it.
    """
    if isinstance(report, PoolReport):
        return None
    found = []
    for it in report.apps:
        if it.status != "running" or it.age_ms >= limit_ms or it.exit_code is not None or it.reason:
            return None
        found.append((it.app, it.generation, it.pid))
    return _pack(found) if found else b""


def pack_all(apps: list[AppEntry]) -> bytes:
    """Apps packed with all that is said of them."""
    return _pack(apps) if apps else b""


def unpack(packed: bytes, *, rests: bool) -> list[AppEntry]:
    """The apps that were packed; those at rest with ages of 0."""
    if not packed:
        return []
    if rests:
        return [AppEntry(app, generation, "running", 0, pid) for app, generation, pid in _unpack_rest(packed)]
    return _unpack_all(packed)


def late_copies(report: Report | PoolReport, limit_ms: int) -> tuple[Copy, ...]:
    """Whose beat is not fresh in a report."""
    if isinstance(report, PoolReport):
        return ()
    return tuple((entry.app, entry.generation) for entry in report.apps if entry.age_ms >= limit_ms)
