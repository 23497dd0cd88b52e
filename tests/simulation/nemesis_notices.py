"""Faults of apps that notify and of their topic, and people who answer. Part of the nemesis."""

from collections.abc import Callable
from random import Random

from sdk.contract.requests import AcknowledgeNotification, ClearNotification
from tests.simulation.world import World


def _app(world: World, chance: Random) -> str:
    return chance.choice(world.speakers.apps) if world.speakers.apps else ""


def _flood(world: World, chance: Random) -> None:
    """An app has much to say at once."""
    if app := _app(world, chance):
        for _ in range(chance.choice([3, 30, 200])):
            chance.choice(world.speakers.all[app]).say()


def _follow(world: World, chance: Random) -> None:
    """An app is started again; what ran before is dead, or goes on beside it and perhaps is stale."""
    if app := _app(world, chance):
        world.speakers.follow(app, same=chance.random() < 0.3, kills=chance.random() < 0.6)


def _fault_topic(world: World, chance: Random) -> None:
    """Garbage comes, an old record comes once more, or the oldest records are deleted."""
    log = world.broker.log(world.topics.notifications)
    if not (world.broker_up and world.speakers.apps):
        return
    place = (world.topics.notifications, 0)
    match chance.choice(["garbage", "again", "again", "again", "delete"]):
        case "garbage":
            world.broker.append(place, [(b"x", chance.choice([b"", b"{}", b"\xff", b'{"app":"x"}']))])
        case "again" if log.records:
            for record in log.records[-chance.choice([1, 5, 50]) :]:
                world.broker.append(place, [(record.key, record.value)])
        case "delete":
            before = len(log.records)
            log.retain(world.loop.now_ms + world.broker.shift_ms - chance.choice([0, 2_000]))
            world.checks.notices.deletions += before - len(log.records)
        case _:
            pass


def _answer(world: World, chance: Random) -> None:
    """Somebody acknowledges or clears something, perhaps what another has cleared already."""
    rows = world.checks.state.notifications
    if rows:
        row = rows[chance.choice(sorted(rows))]
        number = chance.choice([0, row.number, max(1, row.number - 1)])
        if chance.random() < 0.5:
            world.ask(AcknowledgeNotification(row.app, row.key, number, "anna"))
        else:
            world.ask(ClearNotification(row.app, row.key, number, "anna"))


KINDS: dict[str, Callable[[World, Random], None]] = {
    "flood": _flood,
    "speaker": _follow,
    "notices": _fault_topic,
    "ask answer": _answer,
}
