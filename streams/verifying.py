"""`verify`: the published view compared with a fold of the whole log, row by row. Shell.

A row is compared with the fold as of max(progress, the row's own `as_of`): up to `progress` everything must
stand, and what is newer must be right as of when it was written. So it works on a running platform; a
difference that is not there any more at a later try was a row on its way and is not reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from streams.log_source import LogSource, Place, ProgressCallback, fold_entry, no_progress, open_source
from streams.reading import Views, read_views
from tables.invariants import check_invariants
from tables.state import State
from tables.views import ViewKey, all_views, content_of, render, view_keys

#: How often differences are looked at again, and the pause before: a row that was not acknowledged is written
#: again after 8 s at most.
TRIES = 4
PAUSE_S = 3.0

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Verdict(msgspec.Struct, frozen=True):
    """What a comparison found."""

    #: One sentence for each difference, in the order of tables and keys.
    differences: list[str]
    #: Rows compared and events folded.
    rows: int
    events: int
    #: How far the view was complete, -1 without one.
    progress: int
    #: Records on the state topics that are no rows of anybody and were passed over.
    skipped: int


async def verify_platform(bootstrap: str, prefix: str) -> list[str]:
    """One sentence for each difference between the view and the log; empty if there is none.

    Raises:
        CommandError: no Kafka answers, or there is no platform.
    """
    return (await verify(bootstrap, prefix)).differences


async def verify(bootstrap: str, prefix: str, progress: ProgressCallback = no_progress) -> Verdict:
    """Compare, and compare again what differs; only what differs each time is reported."""
    async with open_source(bootstrap, prefix) as source:
        verdict, found = await _compare(source, progress)
        for _ in range(TRIES - 1):
            if not found:
                break
            await asyncio.sleep(PAUSE_S)
            verdict, again = await _compare(source, progress)
            found = {key: text for key, text in again.items() if key in found}
        return msgspec.structs.replace(verdict, differences=list(found.values()))


async def _compare(source: LogSource, progress: ProgressCallback) -> tuple[Verdict, dict[str, str]]:
    views = Views()
    await read_views(source, views)
    log: Place = (source.topics.events, 0)
    # Asked after the rows were read, so that the log reaches at least as far as any of them.
    end = (await source.ends([log]))[log]
    comparison = Comparison(views, end=end)
    comparison.passed()
    async for entry in source.read_log(0, end, progress):
        fold_entry(comparison.state, entry)
        comparison.passed()
    found = comparison.finish()
    return Verdict([], comparison.compared, end, views.progress, views.skipped), found


class Comparison:
    """A fold that compares each row of a view when it passes the offset at which the row must be right."""

    def __init__(self, views: Views, *, end: int) -> None:
        self.state = State()
        self.compared = 0
        self._progress = views.progress
        self._end = end
        self._found: dict[str, str] = {}
        #: Rows to compare at `progress`, and those to compare later, by offset.
        self._settled: dict[ViewKey, bytes] = {}
        self._later: dict[int, dict[ViewKey, bytes]] = {}
        self._unreadable: set[ViewKey] = set()
        #: What the view lacks at `progress`, and the rows that changed since: a row that was dropped meanwhile may be
        #: gone from the view before its progress says so.
        self._missing: dict[ViewKey, str] = {}
        self._changed_since: set[tuple[str, str]] = set()
        for view, value in views.rows.items():
            self._sort(view, value)

    def _sort(self, view: ViewKey, value: bytes | None) -> None:
        if value is None:
            return
        try:
            as_of, content = content_of(value)
        except _UNREADABLE:
            self._unreadable.add(view)
            return
        if as_of >= self._end:
            self._differs(view, f"is as of offset {as_of}, but the log ends at {self._end - 1}")
        elif as_of > self._progress:
            self._later.setdefault(as_of, {})[view] = content
        else:
            self._settled[view] = content

    def passed(self) -> None:
        """The fold stands at `state.offset`: compare what is due there."""
        offset = self.state.offset
        if offset == self._progress and offset >= 0:
            self._compare_settled()
        for view, content in self._later.pop(offset, {}).items():
            self._compare_row(view, content, render(self.state, view))

    def finish(self) -> dict[str, str]:
        """Every difference, by the row it is about."""
        if self._progress < 0:
            if self.state.offset >= 0:
                self._found["progress"] = (
                    "the view has no progress row: no worker has published it yet, or it was lost"
                )
        elif self._progress >= self._end:
            self._found["progress"] = (
                f"the view is complete up to offset {self._progress}, but the log ends at {self._end - 1}: "
                "the log was cut"
            )
        newer = {view for table, key in self._changed_since for view in view_keys(self.state, table, key)}
        for view, text in self._missing.items():
            if view not in newer:
                self._differs(view, text)
        for fault in check_invariants(self.state):
            self._found[f"invariant {fault}"] = f"as of offset {self.state.offset}: {fault}"
        return dict(sorted(self._found.items()))

    def _compare_settled(self) -> None:
        expected = all_views(self.state)
        later = {view for rows in self._later.values() for view in rows}
        for view, content in self._settled.items():
            self._compare_row(view, content, expected.get(view))
        for view in expected.keys() - self._settled.keys() - later:
            if f"{view.table} {view.key}" in self._found:
                continue
            fault = (
                "its newest record is unreadable" if view in self._unreadable else "it is missing in the view"
            )
            self._missing[view] = f"the log has it as of offset {self.state.offset}, but {fault}"
        self._changed_since = self.state.listen()

    def _compare_row(self, view: ViewKey, content: bytes, rendered: bytes | None) -> None:
        self.compared += 1
        if rendered is None:
            self._differs(view, f"is in the view, but not in the log as of offset {self.state.offset}")
            return
        expected = content_of(rendered)[1]
        if content != expected and (fields := list(_fields_that_differ(content, expected))):
            self._differs(view, f"as of offset {self.state.offset}: {'; '.join(fields)}")

    def _differs(self, view: ViewKey, text: str) -> None:
        self._found[f"{view.table} {view.key}"] = f"{view.table} {view.key}: {text}"


def _fields_that_differ(content: bytes, expected: bytes) -> Iterable[str]:
    row: Any = msgspec.json.decode(content)
    true: Any = msgspec.json.decode(expected)
    if not isinstance(row, dict):
        yield f"the view has {row!r:.80}, which is no row"
        return
    for field in sorted(row.keys() | true.keys()):
        if row.get(field) != true.get(field):
            yield f"{field} is {_shown(row, field)} in the view and {_shown(true, field)} by the log"


def _shown(row: dict[str, Any], field: str) -> str:
    return msgspec.json.encode(row[field]).decode()[:120] if field in row else "absent"
