"""Requests that were seen: the fold keeps the first of two admissions of one request. Pure."""

from typing import TYPE_CHECKING, cast

from tables.rows import RequestRow
from tables.state import State

if TYPE_CHECKING:
    from tables.fold import Meta

#: How long a request's id is remembered: twice the retention of the requests topic.
REMEMBERED_MS = 14 * 86_400_000


def request_fault(state: State, request: str) -> str:
    """Why a request cannot be admitted (again), or an empty string."""
    return "request was seen before" if request in state.tables["requests"] else ""


def remember(state: State, request: str, meta: "Meta") -> None:
    """Remember a request that was admitted or refused, and forget the oldest when their time is over."""
    rows = cast("dict[str, RequestRow]", state.tables["requests"])
    while rows:
        oldest = rows[next(iter(rows))]
        if oldest.at_ms >= meta.append_ms - REMEMBERED_MS:
            break
        state.drop("requests", oldest.request)
    state.put("requests", request, RequestRow(request, meta.offset, meta.append_ms))
