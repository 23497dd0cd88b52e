"""What a report says anew: a platform at rest reports the same thousands of times a second. Pure."""

from sdk.contract.heartbeats import PoolReport, Report

#: (app, generation)
Copy = tuple[str, int]


def says_same(old: Report, new: Report, limit_ms: int) -> bool:
    """Whether `new` says nothing but that the same apps run on, all of them heard lately."""
    if old.as_of != new.as_of or old.registration != new.registration or len(old.apps) != len(new.apps):
        return False
    for was, now in zip(old.apps, new.apps, strict=True):
        if (
            now.age_ms >= limit_ms
            or now.generation != was.generation
            or now.app != was.app
            or now.status != "running"
            or was.status != "running"
        ):
            return False
    return True


def late_copies(report: Report | PoolReport, limit_ms: int) -> tuple[Copy, ...]:
    """Whose beat is not fresh in a report."""
    if isinstance(report, PoolReport):
        return ()
    return tuple((entry.app, entry.generation) for entry in report.apps if entry.age_ms >= limit_ms)
