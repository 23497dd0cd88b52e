"""The Kafka side of a simulated agent, as agents/link.py does it."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from agents import inputs as i
from sdk.contract.codec import DecodeError, decode_orders
from sdk.contract.topics import partition_of
from tests.simulation.kafka import Place, Reader, Record

if TYPE_CHECKING:
    from tests.simulation.machines import Agent

REQUEST_MS = 3_000


RETRY_PAUSE_MS = 250


class Link:
    """`agents.link.Link` in virtual time."""

    def __init__(self, agent: "Agent") -> None:
        self.agent = agent
        self.broker = agent.world.broker
        reporter = agent.identity.reporter
        self._key = reporter.encode()
        self._newest: Any = None
        self._sending = False
        self._reader: Reader | None = None
        self._is_reading_start = False

    def send(self, record: Any) -> None:
        """Write `record` unless a newer one comes first."""
        self._newest = record
        self._pump()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being sent and orders are followed."""
        return (
            not self._sending
            and self._newest is None
            and self._reader is not None
            and not self._is_reading_start
        )

    @cached_property
    def _place(self) -> Place:
        return self.agent.world.topics.heartbeats, partition_of(self.agent.identity.reporter)

    def append_calmly(self, record: Any) -> int:
        """Write a report to a calm broker: it stands at once, at this offset."""
        self.broker.append(self._place, [(self._key, record)])
        return self.broker.log(*self._place).end - 1

    def _pump(self) -> None:
        if self._sending or self._newest is None:
            return
        record, self._newest = self._newest, None
        self._sending = True
        open_ = [True]

        def answer(offsets: list[int] | None) -> None:
            if not open_[0]:
                return
            open_[0] = False
            if offsets is not None:
                self._sending = False
                self.agent.note_sent(record, offsets[0])
                self._pump()
                return
            if self._newest is None:
                self._newest = record
            self.agent.after(RETRY_PAUSE_MS, self._again)

        self.broker.produce(self.agent, [(self._place, [(self._key, record)])], answer)
        self.agent.after(REQUEST_MS, lambda: answer(None))

    def _again(self) -> None:
        self._sending = False
        self._pump()

    def read_orders(self) -> None:
        """Read orders from the beginning, unless just that is going on."""
        if self._reader is not None and self._is_reading_start:
            return
        self.close()
        self._is_reading_start = True
        self.agent.after(self.broker.latency() * 2, self._follow)

    def close(self) -> None:
        """Read no more."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _follow(self) -> None:
        if self.agent.machine.is_cut or not self.broker.alive or self.broker.paused:
            self.agent.after(RETRY_PAUSE_MS, self._follow)
            return
        self.close()
        key = self.agent.identity.reporter.encode()
        place = (self.agent.world.topics.commands, partition_of(self.agent.identity.reporter))
        log = self.broker.log(*place)
        end = log.end

        def take(batches: dict[Any, list[Record]]) -> None:
            position = 0
            for record in batches[place]:
                position = record.offset + 1
                if record.key == key and record.value is not None:
                    self._take(record.value)
            if self._is_reading_start and position >= end:
                self._is_reading_start = False
                self.agent.feed(i.CaughtUp())

        self._reader = Reader(self.agent, self.broker, {place: 0}, take)
        if end == 0:
            self._is_reading_start = False
            self.agent.feed(i.CaughtUp())

    def _take(self, value: bytes) -> None:
        try:
            orders = decode_orders(self.agent.identity.reporter, value)
        except DecodeError:
            return
        self.agent.feed(i.OrdersRead(orders))
