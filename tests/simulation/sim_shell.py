"""What a simulated worker stands on: its time, its appender and its disk."""

from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaTimeoutError

from sdk.contract.codec import encode_event
from sdk.contract.events import Event, subject_of
from tables.heard import encode_checkpoint
from tables.rows import decode_row, encode_row
from tables.state import State
from tests.simulation.loop import Loop

if TYPE_CHECKING:
    from tests.simulation.workers import Worker


class ShellTime:
    """Stands in for `time` and `random` in the modules of the shell."""

    loop: Loop

    def monotonic(self) -> float:
        """Seconds of the machine that runs now."""
        assert self.loop.running is not None
        return self.loop.running.machine.mono_ms / 1000

    def now_ms(self) -> int:
        """The same in ms: `streams.core.monotonic`."""
        assert self.loop.running is not None
        return int(self.loop.running.machine.mono_ms)

    def random(self) -> float:
        """Chance of who runs now."""
        assert self.loop.running is not None
        return self.loop.running.chance.random()


SHELL_TIME = ShellTime()


class Pause:
    """A sleep of the shell's code."""

    def __init__(self, delay_s: float) -> None:
        self.delay_ms = round(delay_s * 1000)

    def __await__(self) -> Generator["Pause", None, None]:
        yield self


class ShellAsyncio:
    """Stands in for `asyncio` in the modules of the shell that only sleep."""

    @staticmethod
    def sleep(delay_s: float) -> Pause:
        """Sleep in virtual time."""
        return Pause(delay_s)


class Outcomes:
    """What one append will come to; awaited by the real shell code."""

    def __init__(self, count: int) -> None:
        self.results: list[int | None] = [None] * count
        self.left = count
        self.on_done: Callable[[], None] = lambda: None

    def set(self, index: int, offset: int | None) -> None:
        """One record is acknowledged, or its outcome is unknown."""
        self.results[index] = offset
        self.left -= 1
        if not self.left:
            self.on_done()

    def __await__(self) -> Generator["Outcomes", None, list[int]]:
        if self.left:
            yield self
        if any(offset is None for offset in self.results):
            raise KafkaTimeoutError
        return [offset for offset in self.results if offset is not None]


class SimAppender:
    """`streams.core.appender.Appender` on the simulated producer."""

    def __init__(self, worker: "Worker") -> None:
        self.worker = worker
        self.writer = worker.writer

    async def append(self, events: list[tuple[str, Event, str]]) -> list[int]:
        """Append events in order; their offsets."""
        worker = self.worker
        outcomes = Outcomes(len(events))
        for index, (event_id, event, cause) in enumerate(events):
            worker.world.checks.heartbeats.made(event_id, self.writer)
            value = encode_event(
                event, event_id=event_id, cause=cause, writer=self.writer, at_ms=worker.machine.wall_ms
            )
            place = (worker.world.topics.events, 0)
            worker.producer.send(place, subject_of(event).encode(), value, partial(outcomes.set, index))
        return await outcomes

    async def put(self, topic: str, key: bytes, value: bytes | None, *, partition: int = 0) -> None:
        """Write one record."""
        outcomes = Outcomes(1)
        self.worker.producer.send((topic, partition), key, value, lambda at: outcomes.set(0, at))
        await outcomes

    def later(self, work: Any, failed: Callable[[], None] | None = None) -> None:
        """Do `work` beside the loop."""
        self._step(work, failed)

    def _step(self, work: Any, failed: Callable[[], None] | None) -> None:
        try:
            waiting: Outcomes | Pause = work.send(None)
        except StopIteration:
            return
        except KafkaTimeoutError:
            if failed is not None:
                failed()
            return
        if isinstance(waiting, Pause):
            self.worker.after(waiting.delay_ms, partial(self._step, work, failed))
        else:
            waiting.on_done = partial(self._step, work, failed)


class Disk:
    """A worker's snapshots: the last whole batch."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], bytes] = {}
        self.offset = -1
        self.now_ms = 0
        self.watches: dict[int, bytes] = {}
        self.letters: list[Any] = []
        #: How long a batch takes to reach it; the worker stands still meanwhile.
        self.slow_ms = 0

    def save(self, worker: "Worker") -> None:
        """Rows, offset and checkpoints in one step; a worker that dies meanwhile has saved nothing."""
        if self.slow_ms:
            worker.world.pause_worker(worker.name, self.slow_ms)
            worker.loop.after(self.slow_ms, lambda: self._write(worker) if worker.alive else None)
        else:
            self._write(worker)

    def _write(self, worker: "Worker") -> None:
        self.save_rows(worker)
        self.save_head(worker)

    def save_rows(self, worker: "Worker") -> None:
        """The rows that changed."""
        for table, key in worker.rows_unsaved:
            row = worker.state.tables[table].get(key)
            if row is None:
                self.rows.pop((table, key), None)
            else:
                self.rows[table, key] = encode_row(row)
        worker.rows_unsaved.clear()

    def save_head(self, worker: "Worker") -> None:
        """The offset they belong to, and all else."""
        self.offset, self.now_ms = worker.state.offset, worker.state.now_ms
        self.watches = {
            watch.partition: encode_checkpoint(watch.dump()) for watch in worker.watcher.watches.values()
        }
        self.letters = worker.letters.pending

    def restore(self, state: State, *, log_end: int) -> None:
        """Fill an empty state, if what is here belongs to the log."""
        if self.offset < 0 or self.offset >= log_end:
            return
        rows = [(table, key, decode_row(table, value)) for (table, key), value in self.rows.items()]
        rows.sort(key=lambda row: getattr(row[2], "offset", 0))
        state.load(rows, offset=self.offset, now_ms=self.now_ms)
