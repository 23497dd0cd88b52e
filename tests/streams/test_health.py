"""Health in words, and what `up` seeds."""

from __future__ import annotations

import msgspec
import pytest

from sdk.contract.events import BrakeEngaged, OverdueShareChanged, PolicyChanged, SourceFellSilent
from sdk.contract.policy import Policy
from sdk.contract.requests import ChangePolicy, ConfigurePool, RunApp
from sdk.contract.specs import AppSpec
from streams.health import Health, assess, promise, unwatched_words
from streams.reading import Heard, Reading
from streams.seeding import EXAMPLES, list_examples, list_wishes
from streams.settings import Settings
from streams.spec_files import load_specs
from tables.state import State
from tests.streams.logs import Log


@pytest.fixture
def log() -> Log:
    """Four nodes and an app that runs."""
    log = Log()
    log.start(nodes=4)
    log.add_app("application-a", "node-127.0.0.1_8082")
    return log


def judge(log: Log, *, late: tuple[str, ...] = (), tick_age_ms: int = 100) -> Health:
    """The health of a log whose nodes were all just heard, but for those that are late."""
    heard = Heard({node: log.now_ms - (6_000 if node in late else 0) for node in log.state.nodes}, {})
    heard.tickers["writer-1"] = log.now_ms
    return assess(log.state, heard, last_tick_ms=log.now_ms, now_ms=log.now_ms + tick_age_ms)


def test_health_of_a_platform_that_is_well(log: Log) -> None:
    """Ticks, a leader, all nodes and apps: no problem."""
    health = judge(log)

    assert health.problems == []
    assert (health.nodes_active, health.nodes_wanted, health.apps_running) == (4, 4, 1)
    assert health.leads


def test_health_without_ticks_says_since_when(log: Log) -> None:
    """Old ticks are the first problem, and nobody is called overdue by a clock that stands still."""
    health = judge(log, late=("node-127.0.0.1_8083",), tick_age_ms=65_000)

    assert "not watched since" in health.problems[0]
    assert "1 min 5 s ago" in health.problems[0]
    assert health.overdue == []


def test_health_says_why_the_brake_is_on(log: Log) -> None:
    """The brake names how many of how many are overdue and what that means."""
    log.add(OverdueShareChanged(log.term, "most", 3, 4, []))
    log.add(
        BrakeEngaged(
            term=log.term, based_on=log.end - 1, policy=-1, band="most", overdue=3, nodes=4, wake_ms=60_000
        )
    )
    node = log.state.nodes["node-127.0.0.1_8082"]
    log.add(
        SourceFellSilent(node.node, "node", node.registration, "t", 0, node.seen, node.seen, 10_001, 10_000)
    )

    health = judge(log, late=("node-127.0.0.1_8082", "node-127.0.0.1_8083"))

    assert "3 of 4 nodes overdue: brake since" in health.brake_words
    assert health.brake_words in health.problems
    assert health.overdue == ["node-127.0.0.1_8082", "node-127.0.0.1_8083"]
    assert health.silent == ["node-127.0.0.1_8082"]


def test_promise_names_the_limits_in_force(log: Log) -> None:
    """The promise follows the policy."""
    log.add(PolicyChanged("request-policy", Policy(silence_limit_ms=4_000, overdue_ms=2_000)))

    assert "within 4 s + 0.4 s" in promise(log.state)


@pytest.mark.parametrize(
    ("tick_ms", "oldest_ms", "words"),
    [
        (None, None, "ever"),
        (None, 5_000, "since before"),
        (5_000, 1_000, "not watched since"),
        (9_999, 1_000, ""),
    ],
)
def test_unwatched_says_what_is_known(tick_ms: int | None, oldest_ms: int | None, words: str) -> None:
    """Without a tick near the end, the oldest heartbeat read back bounds the time."""
    reading = Reading(State(), -1, 0, tick_ms, 0, oldest_ms)

    found = unwatched_words(reading, 10_000)

    assert words in found
    assert bool(found) is bool(words)


# --- seeding -------------------------------------------------------------------------------------------


def test_seed_of_an_empty_log_asks_for_pool_policy_and_apps() -> None:
    """A new platform is asked for everything, the pool first."""
    settings = Settings(nodes=2, slots=5, policy={"app_backoff_ms": 10})

    wishes = list(list_wishes(State(), settings, [AppSpec("application-a", ["true"])]).values())

    assert wishes == [
        ConfigurePool("pool-local", 2, 5),
        ChangePolicy({"app_backoff_ms": 10}),
        RunApp(AppSpec("application-a", ["true"])),
    ]


def test_seed_of_a_known_platform_asks_for_nothing(log: Log) -> None:
    """What the log has stays, whatever the settings say."""
    log.add(PolicyChanged("request-policy", Policy()))
    settings = Settings(nodes=9, policy={"app_backoff_ms": 10})

    assert list_wishes(log.state, settings, [AppSpec("application-a", ["false"])]) == {}


def test_seed_without_own_policy_changes_none() -> None:
    """Seeds that are the defaults need no event."""
    values: dict[str, int | bool | str] = {"app_backoff_ms": Policy().app_backoff_ms}

    assert not [
        w for w in list_wishes(State(), Settings(policy=values), []).values() if isinstance(w, ChangePolicy)
    ]


def test_example_apps_are_right() -> None:
    """The files behind `up --demo` hold specs that the platform admits: applications, then services."""
    kinds = [{spec.app.split("-")[0] for spec in load_specs(path).specs} for path in EXAMPLES]

    assert kinds == [{"application"}, {"service"}]
    assert len(list_examples()) == 14


@pytest.mark.parametrize(
    ("nodes", "slots", "given"), [(3, 4, 6), (3, 9, 9), (7, 4, 4), (1, 1, 15), (0, 4, 4)]
)
def test_seed_makes_room_for_the_examples(nodes: int, slots: int, given: int) -> None:
    """A demo's nodes have a slot for each example and one more each, or as many as the settings say."""
    wishes = list_wishes(State(), Settings(nodes=nodes, slots=slots), list_examples())

    assert next(iter(wishes.values())) == ConfigurePool("pool-local", nodes, given)


def test_seed_without_examples_leaves_the_slots() -> None:
    """Without a demo the settings count."""
    wishes = list_wishes(State(), Settings(nodes=1, slots=2), [])

    assert list(wishes.values()) == [ConfigurePool("pool-local", 1, 2)]


def test_health_is_a_document() -> None:
    """Everything in it can be printed as JSON."""
    log = Log()
    log.start()

    assert msgspec.json.encode(judge(log))
