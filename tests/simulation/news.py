"""Which heartbeats are news to a worker that dozes. Part of the simulator.

Ticks are none, nor is a report or a hello that says what the one before it said, ages apart, as long as its reporter
was heard so lately that nobody can take it for overdue. Everything else is.
"""

from typing import TYPE_CHECKING, Any

from sdk.contract.heartbeats import Beat, Hello, PoolReport, Report, Tick, Unchanged

if TYPE_CHECKING:
    from tests.simulation.world import World

#: A reporter that was silent for longer is news when it is heard again: less than the overdue limit.
LATELY_MS = 4_000


class News:
    """What was said last by everybody."""

    def __init__(self, world: "World") -> None:
        self._world = world
        #: Reporter -> offset and true time of its last record, its last report and where that stands.
        self._last: dict[str, tuple[int, int, Report | PoolReport, int]] = {}
        #: The same of its last hello.
        self._greeted: dict[str, tuple[int, int, Hello]] = {}

    def take(self, partition: int, offset: int, heartbeat: Any) -> tuple[bool, int]:
        """A heartbeat is appended: whether it is news, and the offset of the report that said the same."""
        match heartbeat:
            case Tick():
                for worker in self._world.workers.values():
                    if worker.dozes and worker.writer != heartbeat.writer:
                        # It would read it in a moment, and need not tick itself.
                        worker.ticker.note_other(partition)
                return False, -1
            case Report() | PoolReport():
                last = self._last.get(heartbeat.reporter)
                now_ms = self._world.loop.now_ms
                self._last[heartbeat.reporter] = (offset, now_ms, heartbeat, offset)
                if last is None or now_ms - last[1] > LATELY_MS or not self._says_same(last[2], heartbeat):
                    return True, -1
                return False, last[0]
            case Unchanged():
                return self._is_news_that_nothing_is(offset, heartbeat)
            case Hello():
                return self._is_new_hello(offset, heartbeat), -1
            case Beat():
                name = heartbeat.source
                states = [worker.state for worker in self._world.living_workers()]
                rows = [state.devices.get(name) or state.sources.get(name) for state in states]
                return any(row is None or row.silent or row.seen < 0 for row in rows), -1
            case _:
                return True, -1

    def _is_news_that_nothing_is(self, offset: int, said: Unchanged) -> tuple[bool, int]:
        """The same of what says "as before": it is no news if it means the report that came last."""
        last, now_ms = self._last.get(said.reporter), self._world.loop.now_ms
        if last is None:
            return True, -1
        self._last[said.reporter] = (offset, now_ms, last[2], last[3])
        is_news = now_ms - last[1] > LATELY_MS or last[3] != said.full
        return is_news, -1 if is_news else last[0]

    def _is_new_hello(self, offset: int, hello: Hello) -> bool:
        """Whether a hello asks for something else than the last one, or for what may have become right since."""
        last, now_ms = self._greeted.get(hello.reporter), self._world.loop.now_ms
        self._greeted[hello.reporter] = (offset, now_ms, hello)
        if last is None or now_ms - last[1] > LATELY_MS:
            return True
        if (hello.claim, hello.registration) != (last[2].claim, last[2].registration):
            return True
        states = [worker.state for worker in self._world.living_workers()]
        rows = [state.nodes.get(hello.reporter) or state.pools.get(hello.reporter) for state in states]
        return any(row is not None and row.seen >= last[0] for row in rows)

    def _says_same(self, one: Report | PoolReport, other: Report | PoolReport) -> bool:
        if one.registration != other.registration or one.as_of != other.as_of:
            return False
        if isinstance(one, PoolReport) or isinstance(other, PoolReport):
            return isinstance(one, PoolReport) and isinstance(other, PoolReport) and one.nodes == other.nodes
        limit_ms = self._world.checks.state.policy.silence_limit_ms
        return len(one.apps) == len(other.apps) and all(
            before.app == after.app
            and before.generation == after.generation
            and before.status == after.status
            and before.age_ms < limit_ms
            and after.age_ms < limit_ms
            for before, after in zip(one.apps, other.apps, strict=True)
        )
