"""What a report says anew: a platform at rest reports the same thousands of times a second. Pure."""

from sdk.contract.heartbeats import AppEntry, PoolReport, Report

#: (app, generation)
Copy = tuple[str, int]


def says_same(old: Report, apps: list[AppEntry], new: Report, limit_ms: int) -> bool:
    """Whether `new` says nothing but that the same apps as in `old` run on, all of them heard lately.

    `apps` are those of `old`, which may be kept apart from it.
    """
    if old.as_of != new.as_of or old.registration != new.registration or len(apps) != len(new.apps):
        return False
    for was, now in zip(apps, new.apps, strict=True):
        if (
            now.age_ms >= limit_ms
            or now.generation != was.generation
            or now.app != was.app
            or now.status != "running"
            or was.status != "running"
        ):
            return False
    return True


def at_rest(report: Report | PoolReport, limit_ms: int) -> bool:
    """Whether all apps of a node run and were heard lately: "as before" may mean this report then."""
    return isinstance(report, Report) and all(
        entry.status == "running" and entry.age_ms < limit_ms for entry in report.apps
    )


def late_copies(report: Report | PoolReport, limit_ms: int) -> tuple[Copy, ...]:
    """Whose beat is not fresh in a report."""
    if isinstance(report, PoolReport):
        return ()
    return tuple((entry.app, entry.generation) for entry in report.apps if entry.age_ms >= limit_ms)
