"""Services that others need: who waits, who comes first, and circles."""

import pytest

from sdk.contract import events as e
from sdk.contract.requests import ExpectSource, RestartApp, RunApp, StopApp
from sdk.contract.specs import AppSpec, check_spec
from tables.decide import decide
from tables.invariants import check_invariants
from tables.needs import urgency
from tests.tables.entries import fold_all, rows_of
from tests.tables.world import World, begin


def _spec(app: str, *needs: str, priority: int = 50) -> AppSpec:
    return AppSpec(app, ["run"], needs_services=list(needs), priority=priority)


def _run(world: World, app: str, *needs: str, priority: int = 50) -> e.Event:
    return world.ask(RunApp(_spec(app, *needs, priority=priority)))


def _first_placed(world: World) -> dict[str, int]:
    """App -> where on the log its first placement stands."""
    found: dict[str, int] = {}
    for entry in world.log:
        if isinstance(entry.event, e.AppPlaced):
            found.setdefault(entry.event.app, entry.offset)
    return found


def _first_start(world: World, app: str) -> int:
    return next(
        entry.offset
        for entry in world.log
        if isinstance(entry.event, e.AppStarted) and entry.event.app == app
    )


def test_an_app_waits_until_each_service_that_it_needs_runs() -> None:
    """Submitted in the wrong order, they are placed in the right one, by name or by id."""
    world = begin()
    _run(world, "application-web", "db", "service-cache")
    _run(world, "service-cache", "db")
    _run(world, "service-db")
    world.run(10_000, world.all_run)

    placed = _first_placed(world)
    assert placed["service-cache"] > _first_start(world, "service-db")
    assert placed["application-web"] > _first_start(world, "service-cache")
    world.check_replay()


def test_what_it_waits_for_is_said_and_a_service_nobody_knows_is_called_unknown() -> None:
    """The reason stands in the row, changes when the service is known, and is written once."""
    world = begin()
    _run(world, "application-web", "db")
    world.run(2_000)
    assert world.app("application-web").pending_reason == "waits for service-db (unknown)"

    world.behaviour["service-db"] = "mute"
    _run(world, "service-db")
    world.run(5_000)

    assert world.app("application-web").pending_reason == "waits for service-db"
    assert [each.reason for each in world.of_type(e.AppLeftPending)] == [
        "waits for service-db (unknown)",
        "waits for service-db",
    ]


def test_who_waits_is_looked_at_again_when_the_service_is_expected_in_a_topic_of_its_own() -> None:
    """What it said of the service is not true any more."""
    world = begin()
    _run(world, "application-web", "db")
    world.run(2_000)
    world.ask(ExpectSource("service-db", "beats.of.db"))
    assert check_invariants(world.state) == []
    world.run(2_000)
    assert "unknown" not in world.app("application-web").pending_reason


def test_who_waits_is_not_looked_at_until_a_service_of_its_own_changes() -> None:
    """An app that has said what it waits for is none of the open ones; the start of the service opens it."""
    world = begin()
    _run(world, "application-web", "db")
    world.run(2_000)
    assert "application-web" not in world.state.open_apps

    _run(world, "service-other")
    world.run(2_000)
    assert "application-web" not in world.state.open_apps

    _run(world, "service-db")
    world.run(10_000, world.all_run)
    assert decide(world.state, world.watcher) == []


def test_a_needed_service_that_fails_later_stops_nobody() -> None:
    """Who runs goes on; who has to be placed anew meanwhile waits until the service is back."""
    world = begin()
    _run(world, "service-db")
    _run(world, "application-web", "db")
    world.run(10_000, world.all_run)
    generation = world.app("application-web").generation

    world.ask(StopApp("service-db"))
    world.run(5_000)
    assert world.app("application-web").generation == generation
    assert world.app("application-web").phase == "running"

    world.ask(RestartApp("application-web"))
    world.run(5_000, lambda: world.app("application-web").pending_reason == "waits for service-db")
    world.ask(RestartApp("service-db"))
    world.run(10_000, world.all_run)
    assert world.app("application-web").generation > world.app("service-db").generation


def test_both_lost_with_their_node_come_back_in_order() -> None:
    """The apps of a dead node are brought back with the service first."""
    world = begin(nodes=1)
    _run(world, "service-db")
    _run(world, "application-web", "db")
    world.run(10_000, world.all_run)

    world.agent(world.app("service-db").node).status = "exited"
    world.run(60_000, lambda: not world.all_run())
    world.run(60_000, world.all_run)
    assert world.app("application-web").generation > world.app("service-db").generation


def test_a_service_that_runs_by_itself_is_waited_for_too() -> None:
    """One that nobody here runs is up while it beats."""
    world = begin()
    _run(world, "application-web", "db")
    world.run(2_000)
    world.lone["service-db"] = 0
    world.run(10_000, world.all_run)
    assert world.app("application-web").phase == "running"

    world.lone.clear()
    world.run(20_000, lambda: world.state.sources["service-db"].silent)
    _run(world, "application-other", "db")
    world.run(2_000)
    assert world.app("application-other").pending_reason == "waits for service-db"


def test_a_service_that_is_expected_is_up_once_it_was_heard() -> None:
    """That somebody named it says nothing of whether it runs."""
    world = begin()
    world.ask(ExpectSource("service-db"))
    _run(world, "application-web", "db")
    world.run(2_000)
    assert world.app("application-web").pending_reason == "waits for service-db"

    world.clients.add("db")
    world.run(15_000, world.all_run)
    assert world.of_type(e.SourceReturned)
    assert world.app("application-web").phase == "running"


def test_what_others_need_gets_the_last_room() -> None:
    """Of equals the service that somebody waits for comes first, and it has the priority of whoever needs it."""
    world = World(nodes=1, slots=1)
    _run(world, "application-first", priority=60)
    _run(world, "service-db", priority=10)
    _run(world, "application-web", "db", priority=60)
    world.run(10_000, lambda: world.state.apps["service-db"].phase == "running")
    assert world.app("application-first").phase == "pending"


def test_urgency_is_handed_down_from_who_ought_to_run() -> None:
    """Through any number of services, and not from an app that was stopped."""
    world = World(nodes=0)
    _run(world, "service-a")
    _run(world, "service-b", "a")
    _run(world, "application-c", "b", priority=90)
    assert urgency(world.state, world.app("service-a")) == (90, True)
    world.ask(StopApp("application-c"))
    assert urgency(world.state, world.app("service-a")) == (50, True)
    assert urgency(world.state, world.app("service-b")) == (50, False)


def test_a_circle_is_refused_and_named() -> None:
    """By whoever would close it, through others, and by the fold as well."""
    world = World(nodes=1)
    _run(world, "service-a", "b")
    _run(world, "service-b", "c")
    answer = _run(world, "service-c", "a")
    assert isinstance(answer, e.RequestRefused)
    assert answer.reason == (
        "needs_services: service-c needs service-a needs service-b needs service-c: "
        "none of them could be the first to start"
    )
    assert not world.append(e.AppSubmitted("request-raced", _spec("service-c", "a")))
    assert isinstance(_run(world, "service-c"), e.AppSubmitted)


def test_a_spec_may_turn_its_needs_round_step_by_step() -> None:
    """What is no longer needed closes no circle."""
    world = World(nodes=1)
    _run(world, "service-a", "b")
    _run(world, "service-a")
    assert isinstance(_run(world, "service-b", "a"), e.AppSubmitted)
    assert rows_of(fold_all(world.log)) == rows_of(world.state)


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (["web"], "needs_services: service-web cannot need itself"),
        (["db", "service-db"], "needs_services: service-db is named twice"),
        (["a b"], "needs_services: service 'a b' is not a name"),
        ([f"s{number}" for number in range(17)], "needs_services: 17 services; allowed: at most 16"),
    ],
)
def test_wrong_needs_are_refused_with_one_sentence(needs: list[str], words: str) -> None:
    """What, and what is allowed."""
    with pytest.raises(ValueError, match=words):
        check_spec(_spec("service-web", *needs))
