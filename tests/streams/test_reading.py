"""The published view as a reader takes it in, without a broker."""

from __future__ import annotations

from sdk.contract.topics import VIEW_TABLES
from streams.log_source import fold_entry
from streams.reading import Views
from tables.state import State
from tables.views import PROGRESS_KEY, all_views, encode_progress
from tests.streams.logs import Log


def publish(views: Views, state: State) -> None:
    """Every row of a state, as records of the state topics."""
    for view, value in all_views(state).items():
        views.apply(view.table, view.key.encode(), value)
    views.apply("platform", PROGRESS_KEY.encode(), encode_progress(state.offset))


def without_counters(state: State) -> dict[str, dict[str, object]]:
    """All rows that are published."""
    return {
        table: dict(rows) for table, rows in state.tables.items() if table not in {"counters", "requests"}
    }


def test_view_and_tail_give_the_state_of_the_log() -> None:
    """Rows of the view with the tail of the log on top equal a fold of the whole log."""
    log = Log()
    log.start(nodes=2)
    log.add_app("application-a", "node-127.0.0.1_8082")
    views = Views()
    publish(views, log.state)
    log.add_app("application-b", "node-127.0.0.1_8083")
    log.add_lone("service-old")

    rows, newest = views.decode()
    state = State()
    state.load(rows, offset=views.progress, now_ms=log.entries[views.progress].append_ms)
    for entry in log.entries:
        fold_entry(state, entry)

    assert newest == views.progress
    assert without_counters(state) == without_counters(log.state)
    assert state.open_apps == log.state.open_apps
    assert state.now_ms == log.state.now_ms


def test_view_rows_newer_than_progress_are_told() -> None:
    """The largest `as_of` says that the view is ahead of its progress and cannot be used yet."""
    log = Log()
    log.start()
    views = Views()
    publish(views, log.state)
    log.add_app("application-a", "node-127.0.0.1_8082")
    for view, value in all_views(log.state).items():
        views.apply(view.table, view.key.encode(), value)

    _, newest = views.decode()

    assert newest == log.state.offset > views.progress


def test_view_passes_over_garbage_and_counts_it() -> None:
    """Random bytes, a bad key and a bad progress row change nothing but the count."""
    log = Log()
    log.start()
    views = Views()
    publish(views, log.state)
    rows, _ = views.decode()

    for table in VIEW_TABLES:
        views.apply(table, b"x", b"\xff\xfe garbage")
        views.apply(table, b"\xff", b"{}")
        views.apply(table, None, None)
    views.apply("platform", PROGRESS_KEY.encode(), b"[]")
    again, _ = views.decode()

    assert again == rows
    assert views.progress == log.state.offset
    assert views.skipped == 2 * len(VIEW_TABLES) + 1


def test_view_forgets_a_row_with_a_tombstone() -> None:
    """A null value removes the row under its key."""
    log = Log()
    log.start()
    views = Views()
    publish(views, log.state)

    views.apply("platform", b"requests/request-pool", None)
    rows, _ = views.decode()

    assert not [row for row in rows if row[0] == "requests"]
