"""The shell around the runner, with a fake driver and a fake way to Kafka."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from agents import inputs as i
from agents.check_book import CheckBook
from agents.clock import BoundedClock
from agents.disk import read_record
from agents.drivers import AppHands
from agents.shell import Shell
from agents.state import Image, first_state
from sdk.contract.heartbeats import Heartbeat, Hello, Report
from sdk.contract.orders import AppOrder, NodeOrders
from tests.agents.fakes import FakeDriver, FakeWorld
from tests.agents.rig import LOG, NODE, node_identity
from tests.agents.waiting import until


class FakeWay:
    """Kafka that takes everything at once and has no orders but those that a test writes."""

    def __init__(self) -> None:
        self.sent: list[Heartbeat] = []
        self.reads = 0
        self.shell: Shell | None = None

    def send(self, record: Heartbeat) -> None:
        """Take it."""
        self.sent.append(record)
        if self.shell is not None:
            self.shell.note_sent(record, -1)

    def read_orders(self) -> None:
        """There are none yet."""
        self.reads += 1
        if self.shell is not None:
            self.shell.feed(i.CaughtUp())

    def order(self, *apps: AppOrder, as_of: int) -> None:
        """Write orders with the claim of the last hello."""
        assert self.shell is not None
        claim = next(it.claim for it in reversed(self.sent) if isinstance(it, Hello))
        self.shell.feed(i.OrdersRead(NodeOrders(NODE, claim, 50, LOG, as_of, list(apps))))

    def statuses(self) -> dict[str, str]:
        """Apps in the last report."""
        report = next((it for it in reversed(self.sent) if isinstance(it, Report)), None)
        return {} if report is None else {entry.app: entry.status for entry in report.apps}


def play(
    folder: Path,
    act: Callable[[Shell, FakeWay], Awaitable[None]],
    *,
    world: FakeWorld | None = None,
    clock: BoundedClock | None = None,
) -> None:
    """Run `act` beside a running shell, then stop it."""

    async def run() -> None:
        driver = FakeDriver(world or FakeWorld())
        driver.name = "process"
        image_path = folder / "runner.json"
        state = first_state(node_identity(), read_record(image_path, Image, Image()), await driver.adopt())
        book = CheckBook(folder / "checks.json", ip="127.0.0.1")
        shell = Shell(state, AppHands([driver], secrets=folder, checks=book), image_path, clock)
        driver.on_exit = lambda app, generation, code, why: shell.feed(i.Exited(app, generation, code, why))
        way = FakeWay()
        way.shell = shell
        running = asyncio.ensure_future(shell.run(way))
        await until(lambda: way.sent)
        await act(shell, way)
        shell.feed(i.StopAsked())
        async with asyncio.timeout(10):
            await running

    asyncio.run(run())


def test_orders_become_processes_and_reports(tmp_path: Path) -> None:
    """Orders start an app, its beat makes it running, its exit is reported and kept on disk."""

    async def act(shell: Shell, way: FakeWay) -> None:
        way.order(AppOrder("application-a", 90, ["sleep"]), as_of=100)
        await until(lambda: way.statuses() == {"application-a": "starting"})
        shell.feed(i.Beaten("application-a", 90))
        await until(lambda: way.statuses() == {"application-a": "running"})
        way.order(AppOrder("application-a", 90, ["sleep"], kill=True), as_of=101)
        await until(lambda: way.statuses() == {"application-a": "exited"})

    play(tmp_path, act)
    image = read_record(tmp_path / "runner.json", Image, Image())
    assert [(it.key, it.exit_code) for it in image.exits] == [("application-a", -signal.SIGKILL)]


def test_app_that_cannot_start_is_reported(tmp_path: Path) -> None:
    """A driver's refusal is an exit with code 127 and the driver's reason."""

    async def act(shell: Shell, way: FakeWay) -> None:
        way.order(AppOrder("application-a", 90, ["/no/such"]), as_of=100)
        await until(lambda: way.statuses() == {"application-a": "exited"})
        report = next(it for it in reversed(way.sent) if isinstance(it, Report))
        assert (report.apps[0].exit_code, report.apps[0].reason) == (127, "cannot start /no/such")

    play(tmp_path, act)


def test_stop_leaves_nothing_running(tmp_path: Path) -> None:
    """After an orderly stop nothing runs and nothing is remembered but the registration."""
    world = FakeWorld()

    async def act(shell: Shell, way: FakeWay) -> None:
        way.order(AppOrder("application-a", 90, ["sleep"]), as_of=100)
        await until(way.statuses)

    play(tmp_path, act, world=world)
    assert (world.running, world.book) == (set(), {})
    assert read_record(tmp_path / "runner.json", Image, Image()) == Image(50, LOG, 100, [], orderly=True)


def test_restarted_agent_names_its_old_registration(tmp_path: Path) -> None:
    """The hello after a restart carries what the disk remembers, with another claim."""
    claims = []

    async def act(shell: Shell, way: FakeWay) -> None:
        hello = way.sent[0]
        assert isinstance(hello, Hello)
        claims.append((hello.claim, hello.registration))
        way.order(as_of=100 + len(claims))
        await until(lambda: shell.state.is_registered)

    play(tmp_path, act)
    play(tmp_path, act)
    assert [registration for _, registration in claims] == [0, 50]
    assert claims[0][0] != claims[1][0]


def test_woken_agent_reads_before_it_judges(tmp_path: Path) -> None:
    """After a pause an app that beat meanwhile is not called late, whatever the wall clock says."""
    skew = [0.0]

    async def act(shell: Shell, way: FakeWay) -> None:
        way.order(AppOrder("application-a", 90, ["sleep"]), as_of=100)
        await until(way.statuses)
        shell.feed(i.Beaten("application-a", 90))
        await until(lambda: way.statuses() == {"application-a": "running"})
        skew[0] += 3_600.0
        sent = len(way.sent)
        shell.feed(i.Beaten("application-a", 90))
        await until(lambda: len(way.sent) > sent)
        assert not shell.state.things["application-a"].late
        assert shell.state.things["application-a"].since_ms <= shell._clock.now_ms

    play(tmp_path, act, clock=BoundedClock(lambda: time.monotonic() + skew[0]))
