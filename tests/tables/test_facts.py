"""Facts: what is written when, and what never is."""

from msgspec.structs import replace

from sdk.contract import events as e
from sdk.contract.heartbeats import AppEntry, Report
from sdk.contract.topics import partition_of
from tables.facts import DETAIL_MAX, Fact, FactOutbox, find_facts
from tables.views import monitor
from tests.tables.virtual import POOL, TOPIC
from tests.tables.world import World, begin

APP = "application-0"


def _facts(world: World, *, leads: bool = True) -> list[e.Event]:
    return [fact.event for fact in find_facts(world.watcher, topic_id=TOPIC, leads=leads)]


def _say(world: World, report: Report) -> None:
    """Hand a report to the watcher as the newest record of its partition."""
    number = partition_of(report.reporter)
    world.send(report.reporter, report)
    heard = world.heartbeats[number][-1]
    world.watcher.apply(number, heard.offset, heard.append_ms, heard.record)


def _newest(world: World, node: str) -> Report:
    report = world.watcher.watches[partition_of(node)].reports[node].report
    assert isinstance(report, Report)
    return report


def test_fact_lost_on_the_way_is_found_again() -> None:
    """A fact that does not arrive is written again after 8 s, until it does."""
    world = begin(3)
    row = world.app(APP)
    lost: list[int] = []

    def keep(event: e.Event) -> bool:
        if isinstance(event, e.AppExited) and len(lost) < 2:
            lost.append(world.now_ms)
            return False
        return True

    world.keep_fact = keep
    world.agent(row.node).copies[APP, row.generation].end(1)
    world.run(20_000, lambda: world.app(APP).generation > row.generation)
    assert lost[1] - lost[0] >= FactOutbox.AGAIN_MS
    assert world.now_ms - lost[1] <= FactOutbox.AGAIN_MS + 2_500


def test_nothing_is_said_twice_in_a_quiet_world() -> None:
    """While nothing happens no fact is found, let alone written."""
    world = begin(6)
    written = len(world.facts_written)
    world.run(30_000)
    assert len(world.facts_written) == written
    assert _facts(world) == []
    assert len(set(world.facts_written)) == len(world.facts_written)


def test_nothing_comes_from_a_partition_that_is_not_fresh() -> None:
    """A watcher that has not read to the end for a second says nothing."""
    world = begin(3)
    world.agent(world.app(APP).node).paused = True
    world.keep_fact = lambda _: False
    world.run(12_000)
    assert [event for event in _facts(world) if isinstance(event, e.SourceFellSilent)]
    world.watcher.now_ms += 1_000
    assert _facts(world) == []


def test_report_ahead_of_the_fold_waits() -> None:
    """A report computed from orders that this fold has not reached is compared later."""
    world = begin(3)
    row = world.app(APP)
    said = _newest(world, row.node)
    ahead = replace(said, as_of=world.state.offset + 1, apps=[])
    _say(world, ahead)
    assert _facts(world) == []
    world.state.offset += 1
    assert {type(event) for event in _facts(world)} == {e.AppExited}


def test_absent_app_is_lost_only_if_the_orders_named_it() -> None:
    """An app missing from a report is lost only if the report's orders were computed after it was placed."""
    world = begin(3)
    row = world.app(APP)
    said = _newest(world, row.node)
    _say(world, replace(said, as_of=row.generation - 1, apps=[]))
    assert [event for event in _facts(world) if isinstance(event, e.AppExited) and event.app == APP] == []
    _say(world, replace(said, as_of=row.generation, apps=[]))
    lost = [event for event in _facts(world) if isinstance(event, e.AppExited) and event.app == APP]
    assert [event.reason for event in lost] == ["lost"]


def test_report_of_an_old_registration_is_passed_over() -> None:
    """What a zombie reports is no fact."""
    world = begin(3)
    row = world.app(APP)
    entry = AppEntry(APP, row.generation, "exited", 0)
    _say(world, replace(_newest(world, row.node), registration=1, apps=[entry]))
    assert _facts(world) == []


def test_reason_of_an_end_stands_in_the_fact() -> None:
    """What an agent says of an end stands in the fact, cut to a bound."""
    world = begin(3)
    row = world.app(APP)
    entry = AppEntry(APP, row.generation, "exited", 0, 0, 127, "cannot start: " + "x" * 1_000)
    _say(world, replace(_newest(world, row.node), apps=[entry]))
    (fact,) = [it for it in _facts(world) if isinstance(it, e.AppExited)]
    assert fact.detail.startswith("cannot start: xxx")
    assert len(fact.detail) == DETAIL_MAX


def test_app_that_hung_before_its_agent_was_started_again_is_found() -> None:
    """An agent that found an app calls it `starting` until it beats; one that never does is silent all the same."""
    world = begin(3)
    row = world.app(APP)
    limit_ms = world.state.policy.silence_limit_ms
    for age_ms, found in ((limit_ms - 1, []), (limit_ms, [APP])):
        entry = AppEntry(APP, row.generation, "starting", age_ms)
        _say(world, replace(_newest(world, row.node), apps=[entry]))
        assert [it.source for it in _facts(world) if isinstance(it, e.SourceFellSilent)] == found


def test_only_the_leader_speaks_of_the_share() -> None:
    """The share of overdue nodes is the leader's word alone."""
    world = begin(nodes=3)
    for row in world.active():
        world.agent(row.node).paused = True
    world.keep_fact = lambda _: False
    world.run(9_000)
    assert [type(event) for event in _facts(world)] == [e.OverdueShareChanged]
    assert _facts(world, leads=False) == []


def test_silent_provisioner_is_known_and_orders_wait_for_it() -> None:
    """A provisioner that falls silent is shown as dead; nothing is ordered from it meanwhile, nor held against it."""
    world = begin(2, nodes=2)
    step = world.pool.step
    world.pool.step = lambda: None  # type: ignore[method-assign]
    world.run(12_000)
    row = monitor(world.state, POOL)
    assert row is not None
    assert row.status == 0
    world.pool.step = step  # type: ignore[method-assign]
    world.run(5_000)
    row = monitor(world.state, POOL)
    assert row is not None
    assert row.status == 1


def _fact(number: int) -> Fact:
    event = e.SourceReturned("deployer", "lone", 0, TOPIC, 0, number)
    return Fact(f"fact-{number}", event)  # type: ignore[arg-type]


def test_refused_fact_is_never_written_again() -> None:
    """An id that the fold refused is not written again, however long it is found."""
    outbox = FactOutbox()
    assert outbox.due([_fact(1)], now_ms=0, leads=True) == [_fact(1)]
    outbox.read_back("fact-1", accepted=False)
    assert [outbox.due([_fact(1)], now_ms=at, leads=True) for at in (1, 8_000, 99_000)] == [[], [], []]


def test_fact_is_written_once_until_its_time_is_over() -> None:
    """An id that was written is written again only after 8 s."""
    outbox = FactOutbox()
    times = [at for at in range(0, 20_000, 100) if outbox.due([_fact(1)], now_ms=at, leads=True)]
    assert times == [0, 8_000, 16_000]


def test_follower_leaves_the_leader_a_moment() -> None:
    """A worker that does not lead writes a fact only when it still finds it after 150 ms."""
    outbox = FactOutbox()
    times = [at for at in range(0, 1_000, 10) if outbox.due([_fact(1)], now_ms=at, leads=False)]
    assert times == [150]


def test_refused_ids_are_bounded() -> None:
    """No flood of refusals makes the outbox grow without end."""
    outbox = FactOutbox()
    for number in range(outbox.REFUSED_MAX + 5):
        outbox.read_back(f"fact-{number}", accepted=False)
    assert outbox.due([_fact(1)], now_ms=0, leads=True) == [_fact(1)]
    assert outbox.due([_fact(outbox.REFUSED_MAX)], now_ms=0, leads=True) == []
