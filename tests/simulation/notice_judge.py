"""Judge of notifications: each record of the topic counts once, none is lost. Part of the simulator's checkers."""

from typing import TYPE_CHECKING

from sdk.contract.events import Event, NotificationsRead
from sdk.contract.notifications import Notification, decode_notification
from tables.state import State
from tests.simulation.kafka import Record

if TYPE_CHECKING:
    from tests.simulation.world import World

Fault = tuple[str, str]
#: App, generation and key.
Kind = tuple[str, int, str]

ONCE = "a notification counts once"


class NoticeJudge:
    """Everything that was ever said, counted by the plainest of rules."""

    def __init__(self, world: "World", state: State) -> None:
        self._world = world
        self._state = state
        #: What was said at each offset; None: garbage.
        self._said: list[Notification | None] = []
        self._next = 0
        self._counted: set[tuple[str, int, str, int]] = set()
        self._newest: dict[str, int] = {}
        #: Occurrences by app.
        self._totals: dict[str, int] = {}
        #: Records were deleted, so what was lost cannot be known to the last one.
        self.deletions = 0

    def note(self, record: Record) -> None:
        """A record was appended to the topic."""
        try:
            self._said.append(decode_notification(record.value))
        except ValueError:
            self._said.append(None)

    def accepted(self, event: Event) -> Fault | None:
        """The fold counted an event."""
        if not isinstance(event, NotificationsRead):
            return None
        if event.from_offset != self._next or event.to_offset > len(self._said):
            return ONCE, f"{event} after {self._next} of {len(self._said)}"
        expected = self._expect(event)
        self._next = event.to_offset
        told: dict[Kind, int] = {}
        for notice in event.notices:
            key = (notice.app, notice.generation, notice.key)
            told[key] = told.get(key, 0) + notice.count
        if told != expected:
            return ONCE, f"{told} is not {expected} in {event}"
        for app, total in self._totals.items():
            if self._state.speakers[app].occurrences != total:
                return ONCE, f"{app} has {self._state.speakers[app].occurrences} of {total} occurrences"
        return None

    def _expect(self, event: NotificationsRead) -> dict[Kind, int]:
        expected: dict[Kind, int] = {}
        begin = event.from_offset + event.lost
        for said in self._said[begin : event.to_offset]:
            if said is None or said.generation < self._newest.get(said.app, 0):
                continue
            name = (said.app, said.generation, said.writer, said.number)
            if name in self._counted:
                continue
            self._counted.add(name)
            self._newest[said.app] = said.generation
            key = (said.app, said.generation, said.key)
            expected[key] = expected.get(key, 0) + said.count
            self._totals[said.app] = self._totals.get(said.app, 0) + said.count
        return expected

    def lost_fault(self, event: Event) -> Fault | None:
        """What is wrong with what an event says was lost, before it is folded."""
        if isinstance(event, NotificationsRead) and event.lost > self.deletions:
            return "no notification is lost", f"{event} but {self.deletions} were deleted"
        return None

    def unread(self) -> str:
        """What is not in the log yet, or may still grow louder; empty if nothing."""
        if app := self._world.speakers.unsent:
            return f"{app} has notifications to deliver"
        if self._next < len(self._said):
            return f"notifications from {self._next} of {len(self._said)} wait"
        rows = self._state.notifications.values()
        if any(row.wake is not None for row in rows):
            return "a notification may still grow louder"
        if any(row.state == "open" and row.escalate_after_ms and row.severity != "critical" for row in rows):
            return "a notification has not grown louder"
        return ""
