"""`verify` row by row, without a broker."""

from __future__ import annotations

import msgspec
import pytest

from sdk.contract.events import SourceFellSilent, SourceForgotten
from streams.log_source import fold_entry
from streams.reading import Views
from streams.verifying import Comparison
from tables.views import PROGRESS_KEY, ViewKey, all_views, encode_progress
from tests.streams.logs import Log


@pytest.fixture
def log() -> Log:
    """A log with a node and an app."""
    log = Log()
    log.start()
    log.add_app("application-a", "node-127.0.0.1_8082")
    return log


def compare(log: Log, views: Views) -> dict[str, str]:
    """Fold the log beside the view as `verify` does."""
    comparison = Comparison(views, end=log.end)
    comparison.passed()
    for entry in log.entries:
        fold_entry(comparison.state, entry)
        comparison.passed()
    return comparison.finish()


def published(log: Log) -> Views:
    """The view of everything that the log says."""
    views = Views()
    for view, value in all_views(log.state).items():
        views.apply(view.table, view.key.encode(), value)
    views.apply("platform", PROGRESS_KEY.encode(), encode_progress(log.state.offset))
    return views


def test_verify_finds_nothing_in_a_true_view(log: Log) -> None:
    """A view that is what the log says has no difference."""
    assert compare(log, published(log)) == {}


def test_verify_compares_newer_rows_as_of_when_they_were_written(log: Log) -> None:
    """Rows ahead of `progress` are compared at their own offset, also when they changed since."""
    views = published(log)
    log.add_lone("service-old")
    for view, value in all_views(log.state).items():
        views.apply(view.table, view.key.encode(), value)
    log.add_app("application-b", "node-127.0.0.1_8082")

    assert compare(log, views) == {}


def test_verify_knows_that_a_row_dropped_later_may_be_gone(log: Log) -> None:
    """A source that was forgotten after `progress` is no difference, one that stands is."""
    for source in ("service-gone", "service-here"):
        offset = log.add_lone(source)
        log.add(SourceFellSilent(source, "lone", 0, "topic-id", 0, offset, offset + 9, 10_001, 10_000))
    views = published(log)
    log.add(SourceForgotten("request-forget", "service-gone"))
    for source in ("service-gone", "service-here"):
        del views.rows[ViewKey("platform", f"sources/{source}")]

    assert list(compare(log, views)) == ["platform sources/service-here"]


def test_verify_names_the_field_that_differs(log: Log) -> None:
    """A row with a wrong field is a difference that names both values."""
    views = published(log)
    view = ViewKey("nodes", "node-127.0.0.1_8082")
    row = msgspec.json.decode(views.rows[view] or b"")
    row["row"]["slots"] = 7
    views.rows[view] = msgspec.json.encode(row)

    found = compare(log, views)

    assert list(found) == ["nodes node-127.0.0.1_8082"]
    assert "slots is 7 in the view and 4 by the log" in found["nodes node-127.0.0.1_8082"]


def test_verify_finds_missing_extra_and_unreadable_rows(log: Log) -> None:
    """A row that only one side has, and one that nobody can read, are differences; foreign garbage is not."""
    views = published(log)
    extra = views.rows[ViewKey("apps", "application-a")]
    views.rows[ViewKey("apps", "application-x")] = extra
    del views.rows[ViewKey("monitoring", "application-a")]
    views.rows[ViewKey("apps", "application-a")] = b"garbage"
    views.rows[ViewKey("apps", "nobody")] = b"garbage"

    found = compare(log, views)

    assert sorted(found) == ["apps application-a", "apps application-x", "monitoring application-a"]
    assert "unreadable" in found["apps application-a"]
    assert "not in the log" in found["apps application-x"]
    assert "missing" in found["monitoring application-a"]


def test_verify_finds_a_view_without_progress_and_one_past_the_log(log: Log) -> None:
    """No progress row, and rows from after the end of the log, are differences."""
    lost = published(log)
    lost.progress = -1
    cut = published(log)
    log.entries.pop()

    assert "progress" in compare(log, cut)
    assert "progress" in compare(log, lost)
