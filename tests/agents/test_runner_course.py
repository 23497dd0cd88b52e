"""The runner as time passes: reports, late apps, isolation, orderly stops, adoption."""

from itertools import pairwise

from agents import inputs as i
from agents.state import Found, is_beat_welcome
from sdk.contract.orders import NodeOrders
from tests.agents.rig import LOG, NODE, Rig, app, of_kind, reports


def test_reports_come_every_two_and_a_half_seconds() -> None:
    """Reports come every 2.5 s give or take a tenth, not all at the same distance."""
    rig = Rig()
    rig.run(app())
    start = len(rig.history)
    for _ in range(40):
        rig.give(i.Beaten("application-a", 90))
        rig.wait(2_500)
    times = [at for at, it in rig.history[start:] if isinstance(it, i.Send)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(2_250 <= gap <= 2_750 for gap in gaps)
    assert len(set(gaps)) > 10


def test_late_app_is_reported_when_its_age_reaches_the_limit() -> None:
    """The report comes when the last beat is as old as the limit, and again when it beats."""
    rig = Rig()
    rig.register(app(), as_of=100)
    rig.give(rig.node_orders(app(), as_of=101, silence_limit_ms=4_000))
    rig.now_ms = 10
    rig.give(i.Beaten("application-a", 90))
    rig.wait(4_100)
    late = reports([it for at, it in rig.history if at == 4_010])
    assert [record.apps[0].age_ms for record in late] == [4_000]
    rig.wait(50)
    assert reports(rig.give(i.Beaten("application-a", 90)))[0].apps[0].age_ms == 0


def test_pause_of_a_second_accuses_nobody() -> None:
    """A bounded clock that moves a second over a long pause makes no app late."""
    rig = Rig()
    rig.run(app())
    rig.now_ms += 1_000
    rig.give(i.Beaten("application-a", 90))
    rig.wait(9_000)
    assert not any(thing.late for thing in rig.state.things.values())


def test_keeps_running_without_kafka() -> None:
    """While Kafka is away an app with the default setting goes on, and orders are read again every 10 s."""
    rig = Rig()
    rig.run(app())
    rig.is_kafka_there = False
    out = rig.wait(35_000)
    assert not of_kind(out, i.Stop)
    assert len(of_kind(out, i.ReadOrders)) == 3


def test_isolated_app_stops_and_comes_back_with_its_generation() -> None:
    """With `on_isolation = stop` an app ends after 8 s unheard and starts again once heard and read."""
    rig = Rig()
    rig.run(app(on_isolation="stop"))
    rig.is_kafka_there = False
    out = rig.wait(8_200)
    assert of_kind(out, i.Stop)
    assert of_kind(rig.wait(1_100), i.Kill)
    rig.give(i.Exited("application-a", 90, -9))
    rig.is_kafka_there = True
    out = rig.wait(2_800)
    assert not of_kind(out, i.Spawn)
    assert of_kind(out, i.ReadOrders)
    assert rig.entry("application-a").status == "starting"  # type: ignore[union-attr]
    out = rig.give(i.CaughtUp())
    assert [(it.key, it.epoch) for it in of_kind(out, i.Spawn)] == [("application-a", 90)]


def test_isolated_app_stops_before_a_shorter_silence_limit() -> None:
    """Where silence is found after 5 s, an app that must not run unheard is told to stop after 4 s, killed before 5."""
    rig = Rig()
    rig.run(app(on_isolation="stop"))
    rig.give(rig.node_orders(app(on_isolation="stop"), as_of=101, silence_limit_ms=5_000))
    rig.wait(100)
    rig.is_kafka_there = False

    out = rig.wait(4_900)

    assert of_kind(out, i.Stop)
    assert of_kind(out, i.Kill)


def test_isolated_app_that_is_no_longer_ordered_stays_away() -> None:
    """Orders read at the end of isolation that do not name the app are obeyed first."""
    rig = Rig()
    rig.run(app(on_isolation="stop"))
    rig.is_kafka_there = False
    rig.wait(8_200)
    rig.give(i.Exited("application-a", 90, -15))
    rig.is_kafka_there = True
    rig.wait(2_800)
    assert not of_kind(rig.give(rig.node_orders(as_of=101), i.CaughtUp()), i.Spawn)
    assert not of_kind(rig.wait(10_000), i.Spawn)


def test_orderly_stop_leaves_no_exits() -> None:
    """A stop of the platform stops apps politely, reports nothing and remembers no exits of its own making."""
    rig = Rig()
    rig.run(app())
    out = rig.give(i.StopAsked())
    assert of_kind(out, i.Stop)
    out = rig.give(i.Exited("application-a", 90, -15))
    assert of_kind(out, i.Forget)
    assert of_kind(out, i.Finish)
    assert not reports(out)
    image = of_kind(out, i.Save)[-1].image
    assert (image.exits, image.orderly) == ([], True)
    assert of_kind(Rig(image=image).register(app(), as_of=101), i.Spawn)


def test_orderly_stop_kills_what_does_not_end() -> None:
    """Grace is bounded when the platform stops, whatever the app asked for."""
    rig = Rig()
    rig.run(app(stop_grace_ms=600_000))
    rig.give(i.StopAsked())
    assert of_kind(rig.wait(5_010), i.Kill)


def test_adopted_copy_is_not_started_again() -> None:
    """What still runs after a restart of the agent is kept, what died meanwhile is reported."""
    rig = Rig(found=[Found("application-a", 90, "alive", pid=5), Found("application-b", 91, "dead", pid=6)])
    out = rig.register(app(), app("application-b", 91))
    assert not of_kind(out, i.Spawn)
    assert {e.app: e.status for e in reports(out)[0].apps} == {
        "application-a": "starting",
        "application-b": "exited",
    }


def test_beats_of_other_copies_are_unwelcome() -> None:
    """Beats count for the copy that is there and no other."""
    rig = Rig()
    rig.run(app())
    assert is_beat_welcome(rig.state, "application-a", 90)
    assert not is_beat_welcome(rig.state, "application-a", 89)
    assert not is_beat_welcome(rig.state, "application-b", 90)
    rig.give(i.Exited("application-a", 90, 0))
    assert not is_beat_welcome(rig.state, "application-a", 90)


def test_state_given_is_left_alone() -> None:
    """`advance` changes nothing in the state it is given."""
    rig = Rig()
    rig.run(app())
    before = rig.state
    things = dict(before.things)
    rig.give(i.Exited("application-a", 90, 1), i.OrdersRead(NodeOrders(NODE, rig.claim, 50, LOG, 200)))
    assert before.things == things
    assert before.as_of == 100
