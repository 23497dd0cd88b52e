"""What applying specs would change, and why. Pure."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from msgspec.structs import asdict

from sdk.contract.specs import AppSpec
from streams.spec_files import SpecFile
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
    """The steps that make the platform what a file asks for, in its order, what stops last."""
    steps = [_plan_app(state, spec) for spec in wanted.specs]
    for base, count in wanted.counts.items():
        steps += [
            Step("stop", app, f"the count is {count}", state.apps[app].spec)
            for app in copies_of(state, base)
            if int(app.rpartition("-")[2]) > count and state.apps[app].wanted
        ]
    return steps


def copies_of(state: State, base: str) -> list[str]:
    """The numbered copies of an app that the log knows, by number."""
    numbered = re.compile(re.escape(base) + r"-([1-9]\d*)")
    return sorted(
        (app for app in state.apps if numbered.fullmatch(app)), key=lambda app: int(app.rpartition("-")[2])
    )


def _plan_app(state: State, spec: AppSpec) -> Step:
    row = state.apps.get(spec.app)
    if row is None:
        return Step("start", spec.app, "it is new", spec)
    if not row.wanted:
        return Step("start", spec.app, "it was stopped", spec)
    if row.gave_up:
        return Step("start", spec.app, "it was given up", spec)
    if differing := _differing(row.spec, spec):
        return Step("change" if _has_copy(state, row) else "start", spec.app, f"another {differing}", spec)
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
