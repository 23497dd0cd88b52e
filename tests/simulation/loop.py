"""Virtual time: a heap of what happens next, and processes that can be paused and killed. Part of the simulator."""

from collections.abc import Callable
from functools import cached_property
from heapq import heappop, heappush
from random import Random

Work = Callable[[], None]

#: Simulated time begins here, ms UTC.
BEGIN_MS = 1_700_000_000_000


class Loop:
    """What happens when; ties go to what was planned first, so one seed is one run."""

    def __init__(self, seed: int, *, begin_ms: int = BEGIN_MS) -> None:
        self.now_ms = begin_ms
        self.seed = seed
        #: Chance of the world (latencies, drawn ids); the nemesis has its own.
        self.chance = Random(seed)
        self.heap: list[tuple[int, int, Process | None, Work]] = []
        self.count = 0
        #: Whose code runs now; what happens outside of processes leaves it as it is.
        self.running: Process | None = None

    def after(self, delay_ms: int, work: Work, process: "Process | None" = None) -> None:
        """Do `work` later, of a process if it still lives then."""
        self.count = count = self.count + 1
        heappush(self.heap, (self.now_ms + delay_ms if delay_ms > 0 else self.now_ms, count, process, work))

    def run_until(self, end_ms: int) -> None:
        """Let time pass, up to a moment that is not in the past."""
        assert end_ms >= self.now_ms
        heap, pop = self.heap, heappop
        while heap and heap[0][0] <= end_ms:
            self.now_ms, _, process, work = pop(heap)
            if process is None:
                work()
            elif process.alive:
                if process.paused:
                    process.wait(work)
                else:
                    self.running = process
                    work()
        self.now_ms = end_ms

    @property
    def passed_ms(self) -> int:
        """Time since the begin."""
        return self.now_ms - BEGIN_MS


class Machine:
    """Where processes run: one clock and one way to the broker."""

    def __init__(self, loop: Loop, name: str) -> None:
        self.loop = loop
        self.name = name
        #: Its clock runs this much faster than true time.
        self.drift = 1.0 + loop.chance.uniform(-0.005, 0.005)
        #: Processes that count turns instead of taking them: they settle before its clock jumps.
        self.residents: list[Process] = []
        self.jump_ms = 0
        #: How far its wall clock was set either way, ms.
        self.wall_shift_ms = 0
        #: Nothing gets from here to the broker, or from the broker to here.
        self.cut_up = False
        self.cut_down = False

    @property
    def mono_ms(self) -> float:
        """Its monotonic clock."""
        return 1e6 + (self.loop.now_ms - BEGIN_MS) * self.drift + self.jump_ms

    def mono_s_at(self, at_ms: int) -> float:
        """The same in s as it was or will be at this true time, without jumps to come."""
        return (1e6 + (at_ms - BEGIN_MS) * self.drift + self.jump_ms) / 1000

    @property
    def jumped_ms(self) -> int:
        """How far its monotonic clock has jumped ahead, ms."""
        return self.jump_ms

    @jumped_ms.setter
    def jumped_ms(self, jumped_ms: int) -> None:
        for process in self.residents:
            process.settle()
        self.jump_ms = jumped_ms

    @property
    def wall_ms(self) -> int:
        """Its wall clock, ms UTC: only ever shown."""
        return self.loop.now_ms + self.wall_shift_ms

    @property
    def is_cut(self) -> bool:
        """Whether a question and its answer cannot both pass."""
        return self.cut_up or self.cut_down


class Process:
    """One operating system process: what it planned is lost when it dies and waits while it is stopped."""

    def __init__(self, loop: Loop, machine: Machine, name: str) -> None:
        self.loop = loop
        self.machine = machine
        self.name = name
        self.alive = True
        self.paused = False
        self._backlog: list[Work] = []

    @cached_property
    def chance(self) -> Random:
        """Its own, so that what others draw moves nothing here."""
        return Random(f"{self.loop.seed}/{self.name}/{self.loop.now_ms}")

    def after(self, delay_ms: int, work: Work) -> None:
        """Do `work` later, if it still lives then: `Loop.after` without the detour, for most comes this way."""
        loop = self.loop
        loop.count = count = loop.count + 1
        heappush(loop.heap, (loop.now_ms + delay_ms if delay_ms > 0 else loop.now_ms, count, self, work))

    def run(self, work: Work) -> None:
        """Do `work` now, or when it is continued."""
        if not self.alive:
            return
        if self.paused:
            self._backlog.append(work)
        else:
            self.loop.running = self
            work()

    def settle(self) -> None:
        """Be where all its turns until now would have brought it; who takes each of them is there."""

    def wait(self, work: Work) -> None:
        """Do `work` when it is continued."""
        self._backlog.append(work)

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True

    def resume(self) -> None:
        """SIGCONT: what waited happens in the order in which it came."""
        if not self.paused:
            return
        self.paused = False
        waiting, self._backlog = self._backlog, []
        for work in waiting:
            self.after(0, work)

    def kill(self) -> None:
        """SIGKILL."""
        self.alive = False
        self._backlog.clear()
