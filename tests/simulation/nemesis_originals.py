"""Faults of programs with the original heartbeat client, of their topics and of bridges. Part of the nemesis."""

from collections.abc import Callable
from random import Random

from sdk.contract.heartbeats import Beat
from sdk.contract.requests import ExpectSource, ForgetSource
from tests.simulation.kafka import Record
from tests.simulation.originals import TopicWriter
from tests.simulation.world import World


def _original(world: World, chance: Random) -> TopicWriter | None:
    return chance.choice(world.originals.all) if world.originals.all else None


def _fault_original(world: World, chance: Random) -> None:
    original = _original(world, chance)
    if original is not None:
        disturb_writer(world, original, chance)


def disturb_writer(world: World, writer: TopicWriter, chance: Random) -> None:
    """It dies or hangs, and comes back sooner or later."""
    for_ms = chance.choice([1_000, 4_000, 9_000, 14_000, 40_000])
    if chance.random() < 0.5:
        writer.kill()
        world.loop.after(for_ms, writer.start)
    else:
        writer.pause(hung=True)
        world.loop.after(for_ms, lambda: writer.pause(hung=False))


def _cut_topics(world: World, chance: Random) -> None:
    """Nobody can write to these topics, or ask about them, while all others are served."""
    world.cut_topics(for_ms=chance.choice([1_000, 5_000, 12_000, 40_000]))


def _kill_bridge(world: World, chance: Random) -> None:
    """The worker that bridges dies, or stops, between two beats or right after one."""
    owner, original = world.group.owner, _original(world, chance)
    if original is None or owner is None:
        return
    leader = owner.name
    back_ms, for_ms = chance.choice([500, 5_000]), chance.choice([1_000, 8_000, 20_000])
    kills = chance.random() < 0.5

    def look(record: Record) -> None:
        if not (isinstance(record.value, Beat) and record.value.source == original.name):
            return
        world.onlookers.remove(look)
        if kills:
            world.loop.after(0, lambda: world.kill_worker(leader, back_ms=back_ms))
        else:
            world.loop.after(0, lambda: world.pause_worker(leader, for_ms))

    world.onlookers.append(look)


def _ask_original(world: World, chance: Random) -> None:
    """Somebody has one forgotten, watched, or watched in another topic."""
    original = _original(world, chance)
    if original is None:
        return
    match chance.choice(["forget", "expect", "elsewhere"]):
        case "forget":
            world.ask(ForgetSource(original.name))
        case "expect":
            world.ask(ExpectSource(original.name, original.topic))
        case _:
            world.ask(ExpectSource(original.name, f"{original.topic}-elsewhere"))


KINDS: dict[str, Callable[[World, Random], None]] = {
    "original": _fault_original,
    "cut topics": _cut_topics,
    "bridge": _kill_bridge,
    "ask original": _ask_original,
}
