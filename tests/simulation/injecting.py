"""What may be done to a forked world, in words: `kill node-127.0.0.1_8085 @+10s`. Part of the simulator.

VERB THING [for TIME] [@+TIME]
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from sdk.contract.requests import RestartApp
from streams.commands.options import parse_time

if TYPE_CHECKING:
    from tests.simulation.loop import Process
    from tests.simulation.world import World

#: Verb -> kinds of things that it is for.
VERBS = {
    "kill": ("node", "app", "worker", "pool", "broker"),
    "hang": ("node", "app", "worker", "pool", "broker"),
    "cut": ("node", "worker", "pool"),
    "restart": ("node", "app", "worker", "pool", "broker"),
}
#: What brings itself back: a supervisor starts a worker or provisioner again after 1 s, a broker is back after 4.7 s.
BACK_MS = {"worker": 1_000, "pool": 1_000, "broker": 4_700}
#: An agent that is started again in place is back after so long.
AGENT_BACK_MS = 500
ALLOWED = (
    "write VERB THING [for TIME] [@+TIME]: kill, hang or restart a node, app, worker, pool or `broker`, "
    "or cut a node, worker or pool, e.g. `kill node-127.0.0.1_8085 @+10s` or `hang broker for 20s`"
)


class Injection(NamedTuple):
    """One fault."""

    #: When, counted from the moment at which the fork stands, ms.
    at_ms: int
    verb: str
    kind: str
    thing: str
    #: How long; None: until the end, or what is usual.
    for_ms: int | None
    text: str


def parse_injection(text: str, world: "World") -> Injection:
    """The fault that somebody wrote.

    Raises:
        ValueError: it is none, or about something that does not run.
    """
    words = text.split()
    at_ms, for_ms = 0, None
    if words and words[-1].startswith("@"):
        at_ms = _time(words.pop().removeprefix("@").removeprefix("+"), text)
    if len(words) == 4 and words[2] == "for":
        for_ms = _time(words[3], text)
        words = words[:2]
    if len(words) != 2 or words[0] not in VERBS:
        raise ValueError(f"{text!r:.80} is no fault; {ALLOWED}")
    verb, thing = words
    things = things_of(world)
    if thing == "leader":
        return Injection(at_ms, verb, "worker", thing, for_ms, text)
    kind = next((kind for kind, names in things.items() if thing in names), "")
    if not kind:
        known = "; ".join(f"{kind}s: {', '.join(_few(names))}" for kind, names in things.items() if names)
        raise ValueError(f"{text!r:.80}: nothing that runs at that moment is called {thing}; {known}")
    if kind not in VERBS[verb]:
        raise ValueError(f"{text!r:.80}: {verb} is for a {', '.join(VERBS[verb])}, and {thing} is a {kind}")
    if for_ms is not None and (verb == "restart" or (verb == "kill" and kind not in BACK_MS)):
        raise ValueError(f"{text!r:.80}: {verb} has no duration for {thing}")
    return Injection(at_ms, verb, kind, thing, for_ms, text)


def things_of(world: "World") -> dict[str, list[str]]:
    """What there is, by kind."""
    return {
        "node": sorted(world.nodes),
        "app": sorted({app for node in world.nodes.values() for app in node.book}),
        "worker": [*sorted(world.workers), "leader"],
        "pool": sorted(world.providers),
        "broker": ["broker"],
    }


def strike(world: "World", injection: Injection) -> str:
    """Do it now; what was hit, in a few words."""
    match injection.kind:
        case "node":
            return _strike_node(world, injection)
        case "app":
            return _strike_app(world, injection)
        case "worker":
            return _strike_worker(world, injection)
        case "pool":
            return _strike_pool(world, injection)
        case _:
            return _strike_broker(world, injection)


def _strike_node(world: "World", injection: Injection) -> str:
    node = world.nodes[injection.thing]
    match injection.verb:
        case "kill":
            node.crash(apps=True)
        case "restart":
            if node.agent is not None:
                node.agent.kill()
            world.loop.after(AGENT_BACK_MS, node.boot)
        case "cut":
            world.cut(node.machine, up=True, down=True, for_ms=_or_ever(injection))
        case _:
            processes = [node.agent, *node.running()]
            _hang(world, [each for each in processes if each is not None], injection)
    return injection.thing


def _strike_app(world: "World", injection: Injection) -> str:
    copies = [node.book[injection.thing] for node in world.nodes.values() if injection.thing in node.book]
    living = [copy for copy in copies if copy.alive]
    match injection.verb:
        case "kill":
            for copy in living:
                copy.end(-9)
        case "restart":
            world.ask(RestartApp(injection.thing))
        case _:
            _hang(world, living, injection)
    return f"{injection.thing} on {', '.join(copy.node.name for copy in living) or 'no node'}"


def _strike_worker(world: "World", injection: Injection) -> str:
    name = injection.thing
    if name == "leader":
        leading = [worker.name for worker in world.living_workers() if worker.planning.leads]
        name = leading[0] if leading else min(world.workers)
    match injection.verb:
        case "hang":
            world.pause_worker(name, _or_ever(injection))
        case "cut":
            world.cut(world.machines[name], up=True, down=True, for_ms=_or_ever(injection))
        case _:
            world.kill_worker(name, back_ms=injection.for_ms or BACK_MS["worker"])
    return name


def _strike_pool(world: "World", injection: Injection) -> str:
    provider = world.providers[injection.thing]
    match injection.verb:
        case "hang":
            _hang(world, [provider.agent] if provider.agent is not None else [], injection)
        case "cut":
            world.cut(provider.machine, up=True, down=True, for_ms=_or_ever(injection))
        case _:
            if provider.agent is not None:
                provider.agent.kill()
            world.loop.after(injection.for_ms or BACK_MS["pool"], provider.boot)
    return injection.thing


def _strike_broker(world: "World", injection: Injection) -> str:
    if injection.verb == "hang":
        world.broker.pause()
        world.loop.after(_or_ever(injection), world.broker.resume)
    else:
        world.broker.stop()
        world.loop.after(injection.for_ms or BACK_MS["broker"], world.broker.start)
    return "broker"


def _hang(world: "World", processes: Iterable["Process"], injection: Injection) -> None:
    """Stop processes, and continue those that still live when it is over."""
    for process in processes:
        process.pause()
        end: Callable[[], None] = process.resume
        world.loop.after(_or_ever(injection), end)


def _or_ever(injection: Injection) -> int:
    """How long it lasts; a day is longer than any fork."""
    return 86_400_000 if injection.for_ms is None else injection.for_ms


def _time(word: str, text: str) -> int:
    ms = parse_time(word)
    if ms is None:
        raise ValueError(f"{text!r:.80}: {word!r} is no length of time; write 500ms, 30s or 2m; {ALLOWED}")
    return ms


def _few(names: list[str]) -> list[str]:
    return names if len(names) <= 8 else [*names[:7], f"and {len(names) - 7} more"]
