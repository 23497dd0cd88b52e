"""The platform with one guard switched off at a time, to see that the checkers bite. Part of the simulator.

Each mutant names the guard, how to switch it off, and the faults that make it matter. `python -m
tests.simulation.hunting [NAME ...]` hunts for seeds; the tests replay the seeds that were found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from agents import clock, runner
from streams.core import planning, publisher, viewing
from tables import (
    admit_commands,
    bridge,
    bridged,
    candidates,
    decide,
    decide_apps,
    decide_nodes,
    facts,
    fold_apps,
    fold_commands,
    fold_control,
    fold_nodes,
    fold_notifications,
    heard,
    notices,
    plan,
    silence,
    timers,
    watcher,
)
from tables.room import NOTHING, Need
from tests.simulation import sim_shell
from tests.simulation.guards import (
    Change,
    always,
    any_epoch,
    any_hello,
    any_stretch,
    bridge_from_nothing,
    drawn_ids,
    endless_settling,
    expect_no_claim,
    facts_once,
    left_returns,
    no_fence,
    no_flight,
    no_settling,
    no_takeover,
    no_terms,
    note_latest,
    obey_anything,
    one_limit_for_all,
    read_nothing_back,
    spare_serves,
    torn_save,
    unbounded_turn,
    unread_report,
    whole_steps,
    write_orders_once,
)
from tests.simulation.run import Verdict, faults_of, run_seed


class Mutant(NamedTuple):
    """One guard, switched off."""

    name: str
    changes: list[Change]
    #: Faults that are to come often.
    kinds: list[str]


MUTANTS: list[Mutant] = [
    Mutant("terms", no_terms(), ["say again", "rebalance", "kill worker", "app"]),
    Mutant(
        "reading orders back",
        [
            (publisher.Publisher, "_settle", write_orders_once),
            (publisher.Publisher, "read_back", read_nothing_back),
        ],
        ["delay requests", "fault at orders", "ask app"],
    ),
    Mutant(
        "as_of in the agent",
        [(runner, "_look_at_orders", obey_anything), (runner, "_note_orders", note_latest)],
        ["delay requests", "app", "ask app", "rebalance"],
    ),
    Mutant(
        "epoch in sessions",
        [(silence.PartitionWatch, "_beat", any_epoch)],
        ["ghost"],
    ),
    Mutant("settling", [(silence.PartitionWatch, "deadline", no_settling)], ["stop broker", "step clock"]),
    Mutant(
        "bound of settling",
        [(silence.PartitionWatch, "deadline", endless_settling)],
        ["pause node", "cut node", "step clock"],
    ),
    Mutant(
        "clock step cut", [(silence.PartitionWatch, "_advance", whole_steps)], ["stop broker", "step clock"]
    ),
    Mutant(
        "fence before acting",
        [(watcher.Watcher, "confirm_silence", no_fence)],
        ["return at limit", "stall reader"],
    ),
    Mutant(
        "level-triggered facts",
        [(facts.FactOutbox, "due", facts_once)],
        ["stop broker", "crash node", "app"],
    ),
    Mutant(
        "derived ids",
        [(facts, "derive_id", drawn_ids)],
        ["slow broker", "stop broker at append", "app", "cut node"],
    ),
    Mutant(
        "brake on overdue",
        [(watcher, "band_of", always("calm")), (facts, "band_of", always("calm"))],
        ["cut node", "pause node"],
    ),
    Mutant("agent drains before it judges", [(clock.BoundedClock, "turn", unbounded_turn)], ["pause node"]),
    Mutant(
        "snapshot atomicity",
        [(sim_shell.Disk, "save", torn_save)],
        ["kill worker", "kill worker at append", "app"],
    ),
    Mutant(
        "capacity check",
        [
            (fold_apps, "taken_on", always(NOTHING)),
            (plan.Plan, "free", always(Need(99, 0, 0))),
        ],
        ["ask app", "crash node"],
    ),
    Mutant("report's as_of", [(facts, "_lost_apps", unread_report)], ["ask app", "crash node", "app"]),
    Mutant(
        "requests seen",
        [(module, "request_fault", always("")) for module in (fold_apps, fold_control)],
        ["lose acks", "rebalance", "ask nodes", "ask app", "say again"],
    ),
    Mutant(
        "hello newer than what is known",
        [(fold_nodes, "registration_fault", any_hello), (facts, "registration_fault", any_hello)],
        ["say again", "ghost", "crash agent", "cut node"],
    ),
    Mutant(
        "who left stays away",
        [(fold_nodes, "registration_fault", left_returns), (facts, "registration_fault", left_returns)],
        ["ask nodes", "ghost", "cut node", "provisioner"],
    ),
    Mutant(
        "one batch in flight", [(planning.Planning, "turn", no_flight)], ["slow broker", "crash node", "app"]
    ),
    Mutant(
        "timers' step",
        [(timers, "STEP_MAX_MS", lambda _: 1 << 40)],
        ["jump worker's clock", "app", "crash node"],
    ),
    Mutant(
        "replaced generation has ended",
        # The planner asks the same question as the fold: who writes it asks first.
        [(fold_apps, "may_replace", always(True)), (decide_apps, "may_replace", always(True))],
        ["app", "cut node", "pause node"],
    ),
    Mutant(
        "view compared on takeover",
        [(viewing.Viewing, "owner_changed", no_takeover)],
        ["fault at view", "rebalance", "app"],
    ),
    Mutant(
        "services first",
        [(module, "waiting_words", always("")) for module in (decide_apps, fold_apps)],
        ["ask app", "crash node"],
    ),
    Mutant(
        "what runs once",
        [(module, "runs_once", always(False)) for module in (decide_apps, fold_apps)]
        + [(fold_apps, "_is_final", always(False))],
        ["app", "ask app", "crash node"],
    ),
    Mutant(
        "generation of who sets a controller",
        # Whoever admits asks the same question as the fold.
        [(module, "asker_fault", always("")) for module in (fold_commands, admit_commands)],
        ["set controller", "cut node", "app"],
    ),
    Mutant(
        "pauses",
        [(module, "is_app_paused", always(False)) for module in (decide_apps, fold_apps)]
        + [(module, "is_node_paused", always(False)) for module in (decide_nodes, fold_nodes)],
        ["ask pause", "app", "crash node", "cut node"],
    ),
    Mutant(
        "cursor of notifications",
        [(fold_notifications, "reading_fault", any_stretch)],
        ["flood", "say again", "rebalance", "slow broker"],
    ),
    Mutant(
        "sequence of notifications",
        [(notices._Stretch, "_number", always(0))],
        ["flood", "notices", "lose acks", "delay requests"],
    ),
    Mutant(
        "spares before orders",
        [(decide, "decide_spares", always(None))],
        ["crash node", "cut node", "ask nodes", "ask pool"],
    ),
    Mutant(
        "spares stand by",
        [(candidates, "standing_fault", spare_serves)],
        ["crash node", "app", "ask app", "spare"],
    ),
    Mutant(
        "what a bridge goes on with",
        [(bridge.Bridge, "_bridged_before", bridge_from_nothing)],
        ["bridge", "original", "kill worker", "rebalance"],
    ),
    Mutant(
        "clock of bridges",
        [(bridged.BridgeClock, "left_ms", always(-1))],
        # Whoever is calm apart from one cut of its topic must not be accused: few other faults, and none of the broker.
        ["cut topics", "app", "ask app"],
    ),
    Mutant("limits of sensors", [(heard.Session, "limit_ms", one_limit_for_all)], ["sensor", "ask sensor"]),
    Mutant(
        "a hello is a beat",
        [(silence.PartitionWatch, "expect", expect_no_claim)],
        ["crash agent", "kill worker", "slow disk"],
    ),
]


#: Mutant -> the seed that catches it, and the checker that does. Found by the hunt below.
CAUGHT: dict[str, tuple[int, str]] = {
    "terms": (11, "decisions count in their term"),
    "reading orders back": (44, "it heals"),
    "level-triggered facts": (2, "it heals"),
    "bound of settling": (8, "silence is found"),
    "as_of in the agent": (4, "orders only get newer"),
    "brake on overdue": (96, "brake holds"),
    "view compared on takeover": (1, "the view is the fold"),
    "epoch in sessions": (7, "silence is found"),
    "settling": (4, "silence is justified"),
    "clock step cut": (2, "silence is justified"),
    "fence before acting": (5, "no act on a silence that is over"),
    "derived ids": (1, "a fact has one id"),
    "agent drains before it judges": (2, "no death of what lives"),
    "snapshot atomicity": (2, "one fold"),
    "capacity check": (1, "invariants"),
    "report's as_of": (1, "a second copy waits for the first to end"),
    "requests seen": (4, "a request counts once"),
    "hello newer than what is known": (3, "an event counts once"),
    "who left stays away": (2, "who left stays away"),
    "one batch in flight": (2, "decisions are rarely refused"),
    "timers' step": (13, "a timer fires in its time"),
    "services first": (1, "a service comes before those that need it"),
    "generation of who sets a controller": (2, "no command of a stale generation is desired"),
    "what runs once": (5, "what runs once runs once"),
    "spares before orders": (3, "spares are taken first"),
    "spares stand by": (3, "decisions fit"),
    "clock of bridges": (34, "no silence of who beats when it can"),
    "what a bridge goes on with": (4, "no return by old records"),
    "pauses": (2, "nothing is concluded about what is paused"),
    "cursor of notifications": (4, "an event counts once"),
    "sequence of notifications": (4, "a notification counts once"),
    "limits of sensors": (21, "silence is found"),
    "a hello is a beat": (13, "silence is justified"),
    "replaced generation has ended": (2, "a second copy waits for the first to end"),
}


@contextmanager
def switched_off(mutant: Mutant) -> Iterator[None]:
    """The platform without one guard."""
    before = [(where, name, getattr(where, name)) for where, name, _ in mutant.changes]
    for (where, name, change), (_, _, old) in zip(mutant.changes, before, strict=True):
        setattr(where, name, change(old))
    try:
        yield
    finally:
        for where, name, old in before:
            setattr(where, name, old)


def run_mutant(mutant: Mutant, seed: int) -> Verdict:
    """One seed with the guard switched off and the faults that concern it."""
    with switched_off(mutant):
        return run_seed(seed, faults_of(seed, kinds=mutant.kinds))
