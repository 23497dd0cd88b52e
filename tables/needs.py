"""Services that apps need: circles among them, and who comes first because others wait for it. Pure.

What is waited for, and the index that wakes who waits, are in `tables.state`.
"""

from collections.abc import Callable, Mapping

from sdk.contract.specs import AppSpec, needed_services
from tables.rows import AppRow
from tables.state import State


def circle_words(spec: AppSpec, spec_of: Callable[[str], AppSpec | None]) -> str:
    """The circle that a spec would close among those that `spec_of` knows by id; empty if it closes none."""
    above: dict[str, str] = {}
    left = [spec.app]
    while left:
        app = left.pop()
        known = spec if app == spec.app else spec_of(app)
        for need in needed_services(known) if known is not None else ():
            if need == spec.app:
                return _sentence(app, above)
            if need not in above:
                above[need] = app
                left.append(need)
    return ""


def _sentence(last: str, above: Mapping[str, str]) -> str:
    """The way back from the app that needs the first one, as a sentence."""
    way = [last]
    while way[-1] in above:
        way.append(above[way[-1]])
    way.reverse()
    return f"needs_services: {' needs '.join([*way, way[0]])}: none of them could be the first to start"


def need_fault(state: State, spec: AppSpec) -> str:
    """Why an app with this spec could never start beside those that the log knows; empty if it could."""
    if not spec.needs_services:
        return ""

    def spec_of(app: str) -> AppSpec | None:
        row = state.apps.get(app)
        return None if row is None else row.spec

    return circle_words(spec, spec_of)


def urgency(state: State, app: AppRow) -> tuple[int, bool]:
    """The highest priority among an app and those that need it, and whether any that ought to run does."""
    if app.app not in state.dependants:
        return app.spec.priority, False
    highest, seen, left = app.spec.priority, {app.app}, [app.app]
    while left:
        for name in state.dependants.get(left.pop(), ()):
            row = state.apps[name]
            if name not in seen and row.wanted and not row.gave_up:
                seen.add(name)
                left.append(name)
                highest = max(highest, row.spec.priority)
    return highest, len(seen) > 1
