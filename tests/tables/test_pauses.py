"""Maintenance: while the watch over something is paused, facts are recorded and nothing is concluded from them."""

import pytest

from sdk.contract import events as e
from sdk.contract.requests import (
    ConfirmNodeDown,
    CreateNode,
    PauseWatch,
    RestartApp,
    ResumeWatch,
    RunApp,
)
from sdk.contract.specs import AppSpec
from tables.decide import decide
from tests.tables.world import World, begin

APP = "application-0"
MINUTE_MS = 60_000


def _pause(world: World, subject: str, for_ms: int = MINUTE_MS) -> None:
    assert isinstance(world.ask(PauseWatch(subject, for_ms)), e.WatchPaused)


def _verdicts(world: World) -> list[e.Event]:
    """Everything that was concluded about nodes and apps."""
    kinds = (e.NodeDeclaredDown, e.AppDeclaredDown, e.AppHeldBack, e.AppGaveUp, e.AppFinished)
    found = [entry.event for entry in world.log if isinstance(entry.event, kinds)]
    return [*found, *(each for each in world.of_type(e.AppPlaced) if each.replaces)]


@pytest.mark.parametrize("subject", ["the node", ""])
def test_a_paused_node_may_be_silent_and_is_decided_when_the_time_is_over(subject: str) -> None:
    """The silence is a fact at once and the verdict comes with the end of the pause, not ten seconds after it."""
    world = begin(apps=1)
    node = world.app(APP).node
    _pause(world, node if subject else "")
    began_ms = world.since_begin_ms()
    world.agent(node).paused = True
    world.run(30_000, lambda: world.state.nodes[node].silent)
    world.run(25_000)
    assert _verdicts(world) == []

    world.run(30_000, lambda: world.state.nodes[node].status == "down")
    assert world.state.pauses == {}
    assert world.since_begin_ms() - began_ms <= MINUTE_MS + 1_000
    world.run(30_000, world.all_run)
    world.check_replay()


def test_a_node_that_is_back_before_the_end_keeps_its_apps() -> None:
    """A reboot within the pause costs nothing."""
    world = begin(apps=3)
    node = world.app(APP).node
    _pause(world, node)
    world.agent(node).paused = True
    world.run(30_000, lambda: world.state.nodes[node].silent)
    world.agent(node).paused = False
    world.run(2 * MINUTE_MS)
    assert _verdicts(world) == []
    assert world.all_run()
    assert decide(world.state, world.watcher) == []


def test_a_dead_process_on_a_paused_node_is_not_started_again_until_it_is_resumed() -> None:
    """The exit is a failure as ever; the copy after it waits, and comes at once when the pause ends before its time."""
    world = begin(apps=1)
    row = world.app(APP)
    _pause(world, row.node)
    world.agent(row.node).copies[APP, row.generation].end(1)
    world.run(20_000)
    assert (world.app(APP).phase, world.app(APP).failures) == ("ended", 1)
    assert _verdicts(world) == []

    assert isinstance(world.ask(ResumeWatch(row.node)), e.WatchResumed)
    world.run(5_000, world.all_run)
    assert world.app(APP).failures == 1


def test_a_node_that_its_provider_calls_dead_waits_too() -> None:
    """Of a paused node not even that is acted upon; then it is replaced, with its apps."""
    world = begin(apps=1)
    node = world.app(APP).node
    _pause(world, node)
    world.agent(node).status = "exited"
    world.run(40_000)
    assert _verdicts(world) == []
    assert [each for each in world.of_type(e.NodeOrdered) if each.replaces] == []
    world.run(60_000, world.all_run)


def test_a_paused_app_may_hang_and_others_may_not() -> None:
    """A pause covers its subject and nobody else."""
    world = begin(apps=2)
    _pause(world, APP)
    world.behaviour[APP] = world.behaviour["application-1"] = "hangs"
    world.run(40_000, lambda: bool(world.of_type(e.AppDeclaredDown)))
    world.run(5_000)
    assert world.app(APP).silent
    assert {each.app for each in world.of_type(e.AppDeclaredDown)} == {"application-1"}
    world.run(60_000, lambda: APP in {each.app for each in world.of_type(e.AppDeclaredDown)})


def test_a_platform_that_is_paused_replaces_nothing_that_died_before() -> None:
    """Its apps wait with the replacement; a node that somebody asks for is created."""
    world = begin(apps=3, nodes=3)
    node = world.app(APP).node
    world.agent(node).status = "exited"
    world.keep_fact = lambda event: not isinstance(event, e.NodeExited)
    world.run(1_000)
    world.keep_fact = lambda _: True
    _pause(world, "")
    world.ask(CreateNode("pool-home"))
    world.run(30_000)
    assert _verdicts(world) == []
    assert len(world.of_type(e.NodeOrdered)) == 4
    world.ask(ResumeWatch(""))
    world.run(30_000, lambda: world.ready(4) and world.all_run())


def test_what_people_ask_for_is_done_in_spite_of_a_pause() -> None:
    """A new app starts, one is restarted, and a person's word that a node is dead counts."""
    world = begin(apps=1)
    _pause(world, "", 10 * MINUTE_MS)
    world.ask(RunApp(AppSpec("application-new", ["run"])))
    generation = world.app(APP).generation
    world.ask(RestartApp(APP))
    world.run(10_000, world.all_run)
    assert world.app(APP).generation > generation

    node = world.app(APP).node
    world.agent(node).paused = True
    world.run(30_000, lambda: world.state.nodes[node].silent)
    world.ask(ConfirmNodeDown(node))
    world.run(10_000, lambda: world.state.nodes[node].status == "down")


def test_a_pause_can_be_lengthened_and_its_old_time_no_longer_counts() -> None:
    """The last word counts."""
    world = begin()
    _pause(world, "", 10_000)
    world.run(5_000)
    _pause(world, "", MINUTE_MS)
    world.run(30_000)
    assert set(world.state.pauses) == {"platform"}
    world.run(40_000, lambda: not world.state.pauses)
    world.check_replay()


def test_a_verdict_that_raced_with_the_pause_is_dropped() -> None:
    """A decision that was on its way when the pause began does not count."""
    world = begin(apps=1)
    row = world.app(APP)
    node = world.state.nodes[row.node]
    _pause(world, row.node)
    basis = {"term": world.state.term.term, "based_on": 0, "policy": -1}
    assert not world.append(
        e.NodeDeclaredDown(
            **basis,  # type: ignore[arg-type]  # the three are numbers
            node=row.node,
            registration=node.registration,
            reason="silent",
            destroy=False,
        )
    )
    assert world.dropped[-1].endswith(f"the watch over {row.node} is paused")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (PauseWatch("node-x", 1_000), "no node or app 'node-x' to pause the watch over"),
        (PauseWatch("", 999), "for_ms: 999 is out of range; allowed: 1000 to 604800000 (7 d)"),
        (PauseWatch("", 604_800_001), "for_ms: 604800001 is out of range; allowed: 1000 to 604800000 (7 d)"),
        (ResumeWatch(""), "the watch over platform is not paused"),
    ],
)
def test_what_cannot_be_paused_or_resumed_is_refused(request_: PauseWatch | ResumeWatch, words: str) -> None:
    """With one sentence."""
    answer = begin().ask(request_)
    assert isinstance(answer, e.RequestRefused)
    assert answer.reason == words
