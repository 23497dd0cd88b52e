"""The parts of the core thread that write: orders, letters, leadership, snapshots and the published view."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from rocksdict import Options, Rdict

from sdk.contract.codec import DecodeError, decode_orders, encode_orders
from sdk.contract.events import AppStopRequested
from sdk.contract.orders import NodeOrders
from sdk.contract.topics import Topics
from streams.core.appender import Appender
from streams.core.handover import Handover
from streams.core.letters import DeadLetter, Letters, decode_letter
from streams.core.publisher import Publisher
from streams.core.snapshots import Snapshots
from streams.core.viewing import AGAIN_MS, Viewing
from tables.silence import PartitionWatch
from tables.state import State
from tables.views import ViewKey, all_views, decode_progress, encode_progress
from tests.streams.fakes import FakeAppender
from tests.streams.logs import Log

TOPICS = Topics("watchkeep")


@pytest.fixture
def appender() -> FakeAppender:
    """Where the part under test writes."""
    return FakeAppender()


@pytest.fixture
def log() -> Log:
    """A log of a planner, a pool, one node and one running app."""
    log = Log()
    log.start(nodes=1)
    log.add_app("application-a", "node-127.0.0.1_8082")
    return log


# --- orders ----------------------------------------------------------------------------------------


def _publisher(state: State, appender: FakeAppender) -> Publisher:
    publisher = Publisher(state, cast("Appender", appender), TOPICS, "log-1")
    publisher.begin_term()
    return publisher


def _read_all_back(publisher: Publisher, appender: FakeAppender) -> list[str]:
    """Let everything that was written be read back; the keys, in order."""
    written = appender.take()
    for record in written:
        publisher.read_back(record.key, record.value)
    return [record.key.decode() for record in written]


def test_orders_are_written_once_and_not_again_when_read_back(log: Log, appender: FakeAppender) -> None:
    """What stands on the topic as the fold has it is left alone."""
    publisher = _publisher(log.state, appender)

    publisher.publish()
    first = _read_all_back(publisher, appender)
    publisher.publish()

    assert first == ["node-127.0.0.1_8082", "pool-local"]
    assert appender.take() == []


def test_orders_overwritten_by_an_old_leader_are_written_again(log: Log, appender: FakeAppender) -> None:
    """A paused leader that wakes and writes old orders does not have the last word."""
    publisher = _publisher(log.state, appender)
    publisher.publish()
    _read_all_back(publisher, appender)
    stale = NodeOrders("node-127.0.0.1_8082", "claim-8082", 4, "log-1", as_of=1)

    publisher.read_back(b"node-127.0.0.1_8082", encode_orders(stale))
    publisher.publish()

    (again,) = appender.take()
    assert again.value is not None
    orders = cast("NodeOrders", decode_orders("node-127.0.0.1_8082", again.value))
    assert [app.app for app in orders.apps] == ["application-a"]
    assert orders.as_of == log.state.offset


def test_orders_are_written_anew_for_what_was_stopped_before_any_named_it(
    log: Log, appender: FakeAppender
) -> None:
    """They read as before, but only a report on newer ones says that the copy does not run."""
    publisher = _publisher(log.state, appender)
    publisher.publish()
    _read_all_back(publisher, appender)
    generation = log.add_app("application-b", "node-127.0.0.1_8082", running=False)
    log.add(AppStopRequested("request-stop", "application-b"))

    publisher.publish()

    (again,) = appender.take()
    assert again.value is not None
    orders = cast("NodeOrders", decode_orders("node-127.0.0.1_8082", again.value))
    assert [app.app for app in orders.apps] == ["application-a"]
    assert orders.as_of >= generation
    publisher.read_back(again.key, again.value)
    publisher.publish()
    assert appender.take() == []


def test_orders_with_a_higher_as_of_are_never_overwritten(log: Log, appender: FakeAppender) -> None:
    """Who has not folded as far as the writer of a record waits."""
    publisher = _publisher(log.state, appender)
    newer = NodeOrders("node-127.0.0.1_8082", "claim-8082", 4, "log-1", as_of=log.state.offset + 10)
    publisher.read_back(b"node-127.0.0.1_8082", encode_orders(newer))

    publisher.publish()

    assert [record.key for record in appender.take()] == [b"pool-local"]


def test_garbage_among_the_orders_is_refused_and_replaced(log: Log, appender: FakeAppender) -> None:
    """A record that is no order is said to be none, and the right one is written over it."""
    publisher = _publisher(log.state, appender)
    publisher.publish()
    _read_all_back(publisher, appender)

    with pytest.raises(DecodeError):
        publisher.read_back(b"node-127.0.0.1_8082", b"\xff garbage")
    publisher.publish()

    assert [record.key for record in appender.take()] == [b"node-127.0.0.1_8082"]


def test_a_failed_write_of_orders_is_not_repeated_in_the_same_turn(log: Log, appender: FakeAppender) -> None:
    """A broker that refuses is not asked ten times a second."""
    publisher = _publisher(log.state, appender)
    appender.fails = True

    publisher.publish()
    appender.fails = False
    publisher.publish()

    assert appender.take() == []


# --- dead letters ----------------------------------------------------------------------------------


class _Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


GARBAGE = _Record("watchkeep.events.v1", 0, 7, None, b"\x00nonsense")


def test_a_letter_is_written_once_with_the_reason_and_where_it_stood(appender: FakeAppender) -> None:
    """One letter a record, keyed by its place, however often the record is met."""
    letters = Letters(cast("Appender", appender), TOPICS)

    letters.meet(GARBAGE, "event: malformed")
    letters.write()
    letters.write()
    (written,) = appender.take()
    letters.read_back(written.key)
    letters.meet(GARBAGE, "event: malformed")
    letters.write()

    letter = decode_letter(written.value)
    assert written.key == b"watchkeep.events.v1/0/7"
    assert (letter.reason, letter.size) == ("event: malformed", 9)
    assert appender.take() == []


def test_a_letter_of_another_worker_settles_ours(appender: FakeAppender) -> None:
    """Every worker meets the same garbage; who reads the leader's letter drops its own."""
    letters = Letters(cast("Appender", appender), TOPICS)
    letters.meet(GARBAGE, "event: malformed")

    letters.read_back(b"watchkeep.events.v1/0/7")
    letters.write()

    assert appender.take() == []
    assert letters.pending == []


# --- snapshots -------------------------------------------------------------------------------------


def _letter() -> DeadLetter:
    return DeadLetter("watchkeep.events.v1", 0, 7, "event: malformed", "", "", 9, "worker/test/1")


def _save(folder: Path, log: Log, *, topic_id: str = "log-1") -> None:
    snapshots = Snapshots(folder / "core")
    changed = {(table, key) for table, key, _ in log.state.all_rows()}
    watch = PartitionWatch(3, begin=10)
    snapshots.save(log.state, changed, [watch], [_letter()], topic_id=topic_id)
    snapshots.close()


def test_a_snapshot_brings_back_rows_offset_checkpoints_and_letters(tmp_path: Path, log: Log) -> None:
    """What was saved is what is there after a restart."""
    _save(tmp_path, log)
    snapshots, state = Snapshots(tmp_path / "core"), State()

    snapshots.restore(state, topic_id="log-1", log_end=log.end)

    watch = snapshots.load_watch(3, state.policy)
    assert (state.offset, state.tables) == (log.state.offset, log.state.tables)
    assert watch is not None
    assert watch.next_offset == 10
    assert snapshots.load_letters() == [_letter()]
    snapshots.close()


def test_a_checkpoint_of_another_shape_is_not_used(tmp_path: Path, log: Log) -> None:
    """Of the version before, or damaged: the partition is counted back instead."""
    _save(tmp_path, log)
    shape = PartitionWatch(3, begin=10).dump()
    with contextlib.closing(Rdict(str(tmp_path / "core"), options=Options(raw_mode=True))) as disk:
        disk[b"watch\x003"] = msgspec.json.encode(shape)
        disk[b"watch\x004"] = msgspec.msgpack.encode(shape)[:-1]
        disk[b"watch\x005"] = msgspec.msgpack.encode(shape)
    snapshots = Snapshots(tmp_path / "core")

    found = [snapshots.load_watch(partition, log.state.policy) for partition in (3, 4, 5)]

    assert [None if it is None else it.next_offset for it in found] == [None, None, 10]
    snapshots.close()


@pytest.mark.parametrize(("topic_id", "missing", "why"), [("log-2", 0, "another log"), ("log-1", 3, "ahead")])
def test_a_snapshot_of_another_or_a_cut_log_is_thrown_away(
    tmp_path: Path, log: Log, topic_id: str, missing: int, why: str
) -> None:
    """State that does not belong to the log is never used."""
    _save(tmp_path, log)
    snapshots, state = Snapshots(tmp_path / "core"), State()

    said = snapshots.restore(state, topic_id=topic_id, log_end=log.end - missing)

    assert why in said
    assert state.offset == -1
    assert snapshots.load_watch(3, state.policy) is None
    snapshots.close()


# --- the published view ----------------------------------------------------------------------------


def _viewing(log: Log, appender: FakeAppender) -> tuple[Viewing, Handover]:
    handover = Handover()
    viewing = Viewing(log.state, cast("Appender", appender), TOPICS, handover)
    viewing.owner_changed(owns=True)
    viewing.turn(readers_at_end=True)
    return viewing, handover


def _publish(viewing: Viewing, rows: dict[ViewKey, bytes | None]) -> None:
    for view, value in rows.items():
        viewing.read_back(TOPICS.state(view.table), view.key.encode(), value)


def test_a_new_owner_offers_every_row_that_does_not_stand(log: Log, appender: FakeAppender) -> None:
    """Who gets the partition compares all rows with its fold."""
    viewing, handover = _viewing(log, appender)

    rows = handover.take()

    assert rows == cast("dict[ViewKey, Any]", all_views(log.state))
    _publish(viewing, rows)
    viewing.turn(readers_at_end=True)
    assert handover.take() == {}


def test_progress_is_written_when_every_row_was_read_back(log: Log, appender: FakeAppender) -> None:
    """Progress N promises that every row is at least as new as N, so it waits for them."""
    viewing, handover = _viewing(log, appender)
    rows = handover.take()
    before = [record for record in appender.take() if record.value and decode_progress(record.value) >= 0]

    _publish(viewing, rows)
    viewing._progress_at_ms = 0
    viewing.turn(readers_at_end=True)

    (after,) = appender.take()
    assert after.value is not None
    assert decode_progress(after.value) == log.state.offset
    assert all(decode_progress(record.value or b"") < log.state.offset for record in before)


@pytest.mark.parametrize("value", [b"garbage", b'{"as_of":1,"table":"nodes","row":{}}', None])
def test_a_row_that_somebody_else_wrote_is_written_again(
    log: Log, appender: FakeAppender, value: bytes | None
) -> None:
    """Garbage, an old row of a paused owner and a deletion are all repaired from the fold."""
    viewing, handover = _viewing(log, appender)
    _publish(viewing, handover.take())
    viewing.turn(readers_at_end=True)
    node = ViewKey("nodes", "node-127.0.0.1_8082")

    try:
        viewing.read_back(TOPICS.state("nodes"), node.key.encode(), value)
    except ValueError:
        assert value == b"garbage"
    viewing.turn(readers_at_end=True)

    assert set(handover.take()) == {node}


def test_an_older_version_that_is_read_back_is_no_reason_to_offer_the_newer_again(
    log: Log, appender: FakeAppender
) -> None:
    """What is on its way stays so, whatever else was folded since: a flood of changes costs one record each."""
    viewing, handover = _viewing(log, appender)
    app = ViewKey("apps", "application-a")
    first = handover.take()
    log.add(AppStopRequested("request-stop", "application-a"))
    viewing.turn(readers_at_end=True)
    second = handover.take()
    log.add_app("application-b", "node-127.0.0.1_8082")

    _publish(viewing, first)
    viewing.turn(readers_at_end=True)
    third = handover.take()

    assert app in first
    assert app in second
    assert app not in third
    _publish(viewing, second | third)
    viewing.turn(readers_at_end=True)
    assert handover.take() == {}


def test_progress_never_passes_a_change_that_was_not_read_back(log: Log, appender: FakeAppender) -> None:
    """Two changes handled in one turn hold progress before the first, also when the row is offered again."""
    viewing, handover = _viewing(log, appender)
    _publish(viewing, handover.take())
    viewing._progress_at_ms = 0
    viewing.turn(readers_at_end=True)
    appender.take()
    before = log.state.offset

    log.add_app("application-b", "node-127.0.0.1_8082")
    viewing.turn(readers_at_end=True)
    log.add_app("application-c", "node-127.0.0.1_8082")
    viewing._progress_at_ms = 0
    viewing.turn(readers_at_end=True)

    assert all(decode_progress(record.value or b"") <= before for record in appender.take())


def test_progress_is_written_again_when_an_older_one_came_late(log: Log, appender: FakeAppender) -> None:
    """A late record of a paused owner must not stand as the newest (found by the simulator)."""
    viewing, handover = _viewing(log, appender)
    _publish(viewing, handover.take())
    viewing._progress_at_ms = 0
    viewing.turn(readers_at_end=True)
    appender.take()

    viewing.read_back(TOPICS.state("platform"), b"progress", encode_progress(0))
    viewing._progress_at_ms = -AGAIN_MS
    viewing.turn(readers_at_end=True)

    (again,) = appender.take()
    assert decode_progress(again.value or b"") == log.state.offset


def test_a_row_nobody_knows_is_taken_away(log: Log, appender: FakeAppender) -> None:
    """A row under a key that the fold does not have becomes a tombstone."""
    viewing, handover = _viewing(log, appender)
    _publish(viewing, handover.take())

    viewing.read_back(TOPICS.state("apps"), b"application-nobody", b'{"as_of":1,"table":"apps","row":{}}')
    viewing.turn(readers_at_end=True)

    assert handover.take() == {ViewKey("apps", "application-nobody"): None}


def test_who_does_not_own_the_view_offers_nothing(log: Log, appender: FakeAppender) -> None:
    """A follower folds and keeps still."""
    viewing, handover = _viewing(log, appender)
    handover.take()
    viewing.owner_changed(owns=False)

    log.add_app("application-b", "node-127.0.0.1_8082")
    viewing.turn(readers_at_end=True)

    assert handover.take() == {}
