"""The published view in the simulator: the real `Viewing`, a `views` processor, and the judge that reads it back.

What is mirrored is Faust: rows are written to a table, each write is a record of its changelog through a producer of
Faust's own, and an owner whose loop stood still too long ends itself before it writes.
"""

from typing import TYPE_CHECKING

from sdk.contract.topics import VIEW_TABLES
from streams.core.viewing import Viewing
from streams.reading import Views
from streams.verifying import Comparison
from tables.views import ViewKey
from tests.simulation.differences import said_of
from tests.simulation.kafka import Producer
from tests.simulation.log_rules import fold_said
from tests.simulation.sim_group import Group

if TYPE_CHECKING:
    from tests.simulation.workers import Worker
    from tests.simulation.world import World

#: `LoopGuard`: half a session.
STAND_STILL_MAX_MS = Group.SESSION_MS // 2


class ViewWriter:
    """The `views` processor of one worker and the handover to it."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        topics = worker.world.topics
        self.topics = {topics.state(table): table for table in VIEW_TABLES}
        self.viewing = Viewing(worker.state, worker.appender, topics, self)  # type: ignore[arg-type]
        self.producer = Producer(worker, worker.world.broker)
        self._rows: dict[ViewKey, bytes | None] = {}
        self.owns = False
        self._planned = False
        #: When its loop was seen to run last.
        self.turned_ms = worker.mono_ms

    @property
    def is_busy(self) -> bool:
        """Whether rows or progress are under way, or left for the next turn."""
        viewing = self.viewing
        if not self.owns:
            return False
        return bool(
            viewing._odd
            or viewing._flight
            or viewing._compare_all
            or viewing._changed
            or self._rows
            or viewing._progress < self._worker.state.offset
            or viewing._progress != viewing._progress_standing
        )

    def set_owner(self, *, owns: bool) -> None:
        """Faust gave this worker the partition, or took it."""
        if owns != self.owns:
            self.owns = owns
            if not owns:
                self._rows.clear()
            self.viewing.owner_changed(owns)

    def turn(self, *, readers_at_end: bool) -> None:
        """A turn of the core, and of Faust's loop."""
        if self._stood_still():
            return
        self.turned_ms = self._worker.mono_ms
        self.viewing.turn(readers_at_end=readers_at_end)

    def offer(self, rows: dict[ViewKey, bytes | None], *, folded: int) -> None:
        """Rows as of `folded`, to be written soon."""
        del folded
        self._rows.update(rows)
        if self._rows and not self._planned:
            self._planned = True
            self._worker.after(self._worker.chance.randint(1, 20), self._write)

    def _write(self) -> None:
        self._planned = False
        if self._stood_still():
            return
        rows, self._rows = self._rows, {}
        for view, value in rows.items():
            topic = self._worker.world.topics.state(view.table)
            self.producer.send((topic, 0), view.key.encode(), value, lambda _: None)

    def _stood_still(self) -> bool:
        still = self._worker.mono_ms - self.turned_ms > STAND_STILL_MAX_MS
        if still and self.owns:
            self._worker.world.worker_ended(self._worker, "its loop stood still")
            return True
        return False


class ViewGroup(Group):
    """Who owns the view: another partition of the same group, perhaps of another worker."""

    def _knows(self, worker: "Worker") -> bool:
        return worker.views.owns

    def _tell(self, worker: "Worker") -> None:
        worker.views.set_owner(owns=self.owner is worker)


def view_fault(world: "World", *, complete: bool = True) -> str:
    """How the view that stands on the state topics differs from the fold, by the rule of `verify`; empty if not.

    A view that is to be `complete` reaches the end of the log.
    """
    log = world.broker.log(world.topics.events)
    state_logs = [world.broker.log(world.topics.state(table)) for table in VIEW_TABLES]
    seen = (complete, log.end, *((each.end, len(each.records)) for each in state_logs))
    if world.view_found == seen:
        return ""
    fault = _view_fault(world, complete=complete)
    world.view_found = () if fault else seen
    return fault


def _view_fault(world: "World", *, complete: bool) -> str:
    views = Views()
    for table in VIEW_TABLES:
        for record in world.broker.log(world.topics.state(table)).records:
            views.apply(table, record.key, record.value)
    log = world.broker.log(world.topics.events)
    comparison = Comparison(views, end=log.end)
    comparison.passed()
    for record in log.records:
        fold_said(comparison.state, said_of(record, world.decoding.decode_event))
        comparison.passed()
    found = comparison.finish()
    if not complete and views.progress < 0:
        return ""
    if found:
        return next(iter(found.values()))
    return (
        ""
        if not complete or views.progress == log.end - 1
        else f"complete up to {views.progress} of {log.end - 1}"
    )
