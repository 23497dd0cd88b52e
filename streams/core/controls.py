"""What is desired of controllers: written by the leader, read back, written again where it differs. Shell.

Rules (DESIGN 4), as for orders:
1. What stands on a controller's topic is what was read back; the leader writes what differs from its fold, and nothing
   before it has read the topic to its end.
2. Never over a higher `as_of` of the same log: who sees one has not folded far enough and waits.
3. What a device reports goes to the log while its command is in force and has not ended, once.
"""

from typing import NamedTuple

from msgspec.structs import replace

from sdk.contract.controllers import (
    DESIRED_KEY,
    REASON_MAX,
    REPORTED_KEY,
    Desired,
    Reported,
    decode_desired,
    decode_reported,
    encode_desired,
    text_of,
)
from sdk.contract.devices import device_topic
from sdk.contract.events import ControllerReported
from sdk.contract.ids import derive_id
from streams.core import monotonic
from streams.core.appender import Appender
from tables.commands import controllers_touched, desired_for
from tables.facts import Fact
from tables.fold_commands import report_fault
from tables.state import State

#: As for orders: not read back within this time, it is written again, ms; after a failed write, ms since it began.
AGAIN_MS = 8_000
FAILED_AGAIN_MS = 1_000


class _Report(NamedTuple):
    """The newest report on a topic."""

    said: Reported
    offset: int


class Controls:
    """The topics of all controllers as this worker reads them, and what ought to stand there."""

    def __init__(self, state: State, appender: Appender, prefix: str, topic_id: str) -> None:
        self._state = state
        self._appender = appender
        self._prefix = prefix
        self._topic_id = topic_id
        self._changed = state.listen()
        #: Controller -> its topic; changed in here only.
        self.topics: dict[str, str] = {}
        #: Controllers whose topics were read to what was their end.
        self._read: set[str] = set()
        self._standing: dict[str, Desired] = {}
        self._reports: dict[str, _Report] = {}
        self._flight: dict[str, tuple[Desired, int]] = {}
        #: Controllers to be compared with what stands, and those whose report may be news.
        self._dirty: set[str] = set()
        self._heard: set[str] = set()
        for controller in state.devices:
            if controller.startswith("controller-"):
                self._note_device(controller)

    # --- reading ------------------------------------------------------------------------------------

    def read_back(self, controller: str, key: bytes | None, value: bytes | None, offset: int) -> None:
        """A record of a controller's topic.

        Raises:
            DecodeError: it is not ours; it counts as nothing, and under `desired` it is written over.
        """
        if key == DESIRED_KEY:
            self._dirty.add(controller)
            self._standing.pop(controller, None)
            self._stand(controller, decode_desired(value))
        elif key == REPORTED_KEY:
            self._reports[controller] = _Report(decode_reported(value), offset)
            self._heard.add(controller)

    def _stand(self, controller: str, desired: Desired) -> None:
        self._standing[controller] = desired
        flying = self._flight.get(controller)
        if flying is not None and flying[0] == desired:
            del self._flight[controller]

    def caught_up(self, controller: str) -> None:
        """Its topic was read to what was the end."""
        if controller not in self._read:
            self._read.add(controller)
            self._dirty.add(controller)

    def forget(self) -> None:
        """Nothing is read any more: what stands is not known."""
        self._read.clear()
        self._standing.clear()
        self._reports.clear()
        self._heard.clear()

    # --- turns --------------------------------------------------------------------------------------

    def begin_term(self) -> None:
        """A new leader looks at all controllers."""
        self._dirty.update(self.topics)
        self._flight.clear()

    def follow(self) -> None:
        """Note what changed; all that a worker does which does not lead."""
        if self._changed:
            for table, key in self._changed:
                if table == "devices" and key.startswith("controller-"):
                    self._note_device(key)
            touched = controllers_touched(self._changed, self._state)
            self._dirty |= touched
            self._heard |= touched & self._reports.keys()
            self._changed.clear()

    def facts(self) -> list[Fact]:
        """Reports that the log lacks; of the leader only."""
        self.follow()
        facts = []
        for controller in sorted(self._heard):
            fact = self._fact(controller)
            if fact is None:
                self._heard.discard(controller)
            else:
                facts.append(fact)
        return facts

    def publish(self) -> None:
        """Write what differs from the fold; only the leader does."""
        self.follow()
        now_ms = monotonic.now_ms()
        for controller in sorted(self._dirty):
            if self._settle(controller, now_ms):
                self._dirty.discard(controller)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to be written or to be waited for."""
        return not (self._dirty or self._heard)

    def _note_device(self, controller: str) -> None:
        row = self._state.devices.get(controller)
        topic = "" if row is None else device_topic(self._prefix, row.device)
        if self.topics.get(controller, "") == topic:
            return
        self.topics.pop(controller, None)
        for known in (self._standing, self._reports, self._flight):
            known.pop(controller, None)
        self._read.discard(controller)
        if topic:
            self.topics[controller] = topic

    def _fact(self, controller: str) -> Fact | None:
        report = self._reports.get(controller)
        if report is None or report_fault(self._state, controller, report.said.command):
            return None
        said = report.said
        event = ControllerReported(
            controller,
            said.command,
            said.outcome,
            text_of(said.value),
            report.offset,
            said.reason[:REASON_MAX],
        )
        return Fact(derive_id("controller-reported", controller, said.command, said.outcome), event)

    def _settle(self, controller: str, now_ms: int) -> bool:
        """Write what is desired of a controller if it differs; whether nothing is left to do."""
        topic = self.topics.get(controller)
        wanted = desired_for(self._state, controller, topic_id=self._topic_id)
        if topic is None or wanted is None:
            return True
        if controller not in self._read:
            return False
        standing = self._standing.get(controller)
        if standing is not None and _same(standing, wanted):
            self._flight.pop(controller, None)
            return True
        if standing is not None and standing.log == wanted.log and standing.as_of > wanted.as_of:
            return False
        flying = self._flight.get(controller)
        if flying is not None and _same(flying[0], wanted) and now_ms - flying[1] < AGAIN_MS:
            return False
        self._flight[controller] = (wanted, now_ms)
        put = self._appender.put(topic, DESIRED_KEY, encode_desired(wanted))
        self._appender.later(put, lambda: self._try_soon(controller))
        return False

    def _try_soon(self, controller: str) -> None:
        """A write failed: again in a second, not in every turn."""
        flying = self._flight.get(controller)
        if flying is not None:
            self._flight[controller] = (flying[0], flying[1] - AGAIN_MS + FAILED_AGAIN_MS)


def _same(one: Desired, other: Desired) -> bool:
    """Whether two records say the same, whatever offset they were computed at."""
    return replace(one, as_of=0) == replace(other, as_of=0)
