"""Fold of which lone sources are expected, and which no more. Pure."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sdk.contract.events import Event, SourceExpected, SourceForgotten
from sdk.contract.topics import check_beats_topic, partition_of
from tables.fold_requests import remember, request_fault
from tables.rows import SourceRow
from tables.state import State

if TYPE_CHECKING:
    from tables.fold import Meta

#: Services that may be expected at once. A bridge asks for the ends of all their topics in one request, five times a
#: second: at this number some 30 KiB each.
EXPECTED_MAX = 1_000


def expectation_fault(state: State, source: str, topic: str) -> str:
    """Why a source cannot be expected in a topic, or an empty string."""
    if source in state.apps or source in state.nodes or source in state.pools:
        return f"{source} is run by this platform: it is watched as what it is"
    if source not in state.bridged and len(state.bridged) >= EXPECTED_MAX:
        return f"{EXPECTED_MAX} services are expected already; allowed: at most {EXPECTED_MAX}"
    try:
        check_beats_topic(topic, what="topic")
    except ValueError as error:
        return str(error)
    return ""


def _source_expected(state: State, event: SourceExpected, meta: "Meta") -> str:
    if fault := request_fault(state, event.request) or expectation_fault(state, event.source, event.topic):
        return fault
    row = state.sources.get(event.source)
    if row is None:
        row = SourceRow(event.source, "lone", partition_of(event.source), -1, meta.append_ms)
    if row.topic != event.topic:
        row = replace(row, topic=event.topic, expectation=meta.offset)
    state.put("sources", event.source, row)
    remember(state, event.request, meta)
    return ""


def is_forgettable(row: SourceRow) -> bool:
    """Whether forgetting it makes a difference: one that beats by itself would be known again at its next beat."""
    return row.silent or bool(row.topic)


def _source_forgotten(state: State, event: SourceForgotten, meta: "Meta") -> str:
    row = state.sources.get(event.source)
    if fault := request_fault(state, event.request):
        return fault
    if row is None or not is_forgettable(row):
        return f"{event.source} is no silent lone source"
    state.drop("sources", event.source)
    remember(state, event.request, meta)
    return ""


SOURCE_HANDLERS: dict[type[Event], Callable[[State, Any, "Meta"], str]] = {
    SourceExpected: _source_expected,
    SourceForgotten: _source_forgotten,
}
