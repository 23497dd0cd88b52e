"""What applying specs would change, and why. Pure."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from msgspec.structs import asdict

from sdk.contract.specs import AppSpec, needed_services
from streams.commands import USAGE, CommandError
from streams.spec_files import SpecFile
from tables.needs import circle_words
from tables.rows import AppRow
from tables.state import State, holds_slot, is_hosted


class Step(NamedTuple):
    """What is done about one app."""

    #: start: there is no copy; change: a copy that runs gets another spec; stop: it is one too many; keep: nothing.
    action: Literal["start", "change", "stop", "keep"]
    app: str
    why: str
    spec: AppSpec


def plan_specs(state: State, wanted: SpecFile) -> list[Step]:
    """The steps that make the platform what a file asks for, what stops last.

    In the order of the file, but a service before those that need it, and stopped after them.

    Raises:
        CommandError: apps of the file could never start, because they need each other.
    """
    check_needs(state, wanted.specs)
    steps = [_plan_app(state, spec) for spec in in_order_of_needs(wanted.specs)]
    stops = [
        Step("stop", app, f"the count is {count}", state.apps[app].spec)
        for base, count in wanted.counts.items()
        for app in copies_of(state, base)
        if int(app.rpartition("-")[2]) > count and state.apps[app].wanted
    ]
    # Each after those that need it: the order of needs from behind, which leaves copies of one app as they stand.
    turn = {spec.app: at for at, spec in enumerate(in_order_of_needs([stop.spec for stop in stops[::-1]]))}
    return steps + sorted(stops, key=lambda stop: -turn[stop.app])


def check_needs(state: State, specs: list[AppSpec]) -> None:
    """Refuse specs that close a circle of needs among themselves and what the log knows.

    Raises:
        CommandError: the circle.
    """
    given = {spec.app: spec for spec in specs}

    def spec_of(app: str) -> AppSpec | None:
        row = state.apps.get(app)
        return given.get(app) or (None if row is None else row.spec)

    for spec in specs:
        if words := circle_words(spec, spec_of):
            raise CommandError(f"{words}.", USAGE)


def in_order_of_needs(specs: list[AppSpec]) -> list[AppSpec]:
    """The specs in their order, but each after those of the services that it needs."""
    left = {spec.app: spec for spec in specs}
    ordered: list[AppSpec] = []

    def take(app: str) -> None:
        spec = left.pop(app, None)
        if spec is not None:
            for service in needed_services(spec):
                take(service)
            ordered.append(spec)

    for app in list(left):
        take(app)
    return ordered


def copies_of(state: State, base: str) -> list[str]:
    """The numbered copies of an app that the log knows, by number."""
    numbered = re.compile(re.escape(base) + r"-([1-9]\d*)")
    return sorted(
        (app for app in state.apps if numbered.fullmatch(app)), key=lambda app: int(app.rpartition("-")[2])
    )


def _plan_app(state: State, spec: AppSpec) -> Step:
    row = state.apps.get(spec.app)
    after = ", ".join(needed_services(spec))
    after = f", after {after}" if after else ""
    if row is None:
        return Step("start", spec.app, f"it is new{after}", spec)
    if row.phase == "finished":
        if differing := _differing(row.spec, spec):
            return Step("start", spec.app, f"another {differing}{after}", spec)
        return Step("keep", spec.app, "it has finished", spec)
    if not row.wanted:
        return Step("start", spec.app, f"it was stopped{after}", spec)
    if row.gave_up:
        return Step("start", spec.app, f"it was given up{after}", spec)
    if differing := _differing(row.spec, spec):
        if _has_copy(state, row):
            return Step("change", spec.app, f"another {differing}", spec)
        return Step("start", spec.app, f"another {differing}{after}", spec)
    running = row.placed_spec if _has_copy(state, row) else None
    if running is not None and (differing := _differing(running, spec)):
        return Step("change", spec.app, f"its copy still has another {differing}", spec)
    return Step("keep", spec.app, "it is as the file says", spec)


def _has_copy(state: State, row: AppRow) -> bool:
    return holds_slot(row) and is_hosted(state, row)


def _differing(old: AppSpec, new: AppSpec) -> str:
    """The fields that differ, for people; empty if none does."""
    before, after = asdict(old), asdict(new)
    return ", ".join(field for field in after if before[field] != after[field])
