"""Faults of the broker and of what stands on it. Part of the simulator's nemesis."""

from random import Random

from sdk.contract.topics import VIEW_TABLES
from tests.simulation.world import WIDE, World


def _stop_broker(world: World, chance: Random) -> None:
    world.disturb_broker()
    world.broker.stop()

    def back() -> None:
        world.disturb_broker()
        world.broker.start()

    world.loop.after(chance.choice([300, 2_000, 7_000, 15_000, 30_000]), back)


def _pause_broker(world: World, chance: Random) -> None:
    world.disturb_broker()
    world.broker.pause()

    def back() -> None:
        world.disturb_broker()
        world.broker.resume()

    world.loop.after(chance.choice([300, 2_000, 5_000, 12_000]), back)


def _step_clock(world: World, chance: Random) -> None:
    world.disturb_broker()
    world.broker.shift_ms += chance.choice([-60_000, -5_000, -900, 900, 5_000, 12_000, 60_000])


def _lose_acks(world: World, chance: Random) -> None:
    world.broker.lost_acks = chance.choice([0.1, 0.5])
    world.disturb_broker()

    def over() -> None:
        world.disturb_broker()
        world.broker.lost_acks = 0.0

    world.loop.after(chance.randint(1_000, 15_000), over)


def _slow_broker(world: World, chance: Random) -> None:
    world.broker.slow_ms = chance.choice([50, 300, 900])
    world.disturb_broker()

    def over() -> None:
        world.disturb_broker()
        world.broker.slow_ms = 0

    world.loop.after(chance.randint(1_000, 15_000), over)


def _delay_requests(world: World, chance: Random) -> None:
    """Some requests arrive late: between producers, and after a retry within one, records change places."""
    world.broker.late_share = chance.choice([0.02, 0.2])
    world.disturb_broker()

    def over() -> None:
        world.disturb_broker()
        world.broker.late_share = 0.0

    world.loop.after(chance.randint(1_000, 15_000), over)


def _retain(world: World, chance: Random) -> None:
    """The oldest heartbeats are deleted: more than `COUNT_BACK_MS` is kept, or not even that."""
    since_ms = world.loop.now_ms + world.broker.shift_ms - chance.choice([3_000, 40_000])
    for number in range(WIDE):
        world.broker.log(world.topics.heartbeats, number).retain(since_ms)


def _compact(world: World, chance: Random) -> None:
    for number in range(WIDE):
        world.broker.log(world.topics.commands, number).compact(chance.randint(0, 3))
    for table in VIEW_TABLES:
        world.broker.log(world.topics.state(table)).compact(chance.randint(0, 3))


def _garbage(world: World, chance: Random) -> None:
    if world.broker_up:
        topics = world.topics
        views = [topics.state(table) for table in VIEW_TABLES]
        topic = chance.choice([topics.events, topics.heartbeats, topics.commands, topics.requests, *views])
        wide = topic in (topics.heartbeats, topics.commands)
        number = chance.randrange(WIDE) if wide else 0
        key = chance.choice([b"pool-home", b"\xff", b"node-10.0.0.1_8101", b"progress"])
        world.broker.append((topic, number), [(key, chance.choice([b"", b"{}", b"[1]", b"\xff\xfe"]))])


def _say_again(world: World, chance: Random) -> None:
    """A record of the log comes a second time, however late."""
    log = world.broker.log(world.topics.events)
    if world.broker_up and log.records:
        record = chance.choice(log.records[-chance.choice([3, 30, 3_000]) :])
        world.broker.append((record.topic, record.partition), [(record.key, record.value)])


KINDS = {
    "stop broker": _stop_broker,
    "pause broker": _pause_broker,
    "step clock": _step_clock,
    "lose acks": _lose_acks,
    "slow broker": _slow_broker,
    "delay requests": _delay_requests,
    "compact": _compact,
    "retain": _retain,
    "garbage": _garbage,
    "say again": _say_again,
}
