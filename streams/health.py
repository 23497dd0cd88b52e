"""Whether the platform is well, and if not, what is missing in words. Shell: reads; the judgement is pure."""

from __future__ import annotations

from typing import Any

import msgspec

from sdk.contract.ids import pool_id
from streams.commands import CommandError
from streams.log_source import check_reachable, open_source
from streams.reading import UNWATCHED_AFTER_MS, Heard, Reading, read_from, read_heard
from streams.render import clock, duration
from streams.settings import Settings
from tables.state import State, is_hosted
from tables.views import app_status, is_app_alive, operating_state

#: How far back it is looked who was heard, ms: the silence limit and some.
HEARD_WINDOW_MS = 15_000
#: A worker that has not ticked for so long does not lead, ms: it ticks itself every 450 ms.
LEADER_QUIET_MS = 3_000
#: Silent sensors that are named in one sentence.
_NAMED_MAX = 10


class Health(msgspec.Struct, frozen=True):
    """The platform's health; `problems` is empty when all is well."""

    problems: list[str]
    #: Append time of the newest tick, None if none is near the end of the heartbeats.
    last_tick_ms: int | None
    #: Whether that is so long ago that nobody watches.
    watched: bool
    term: int
    leader: str
    #: The leader ticked within the last seconds.
    leads: bool
    brake_since_ms: int
    brake_words: str
    nodes_active: int
    nodes_wanted: int
    apps_running: int
    apps_wanted: int
    provisioners: list[str]
    overdue: list[str]
    silent: list[str]
    #: The silent ones that nobody here runs, so that nobody brings them back.
    silent_lone: list[str]
    #: Sensors whose silence is judged, and how many of them work.
    sensors_judged: int = 0
    sensors_working: int = 0
    sensors_silent: list[str] = []


async def read_health(settings: Settings, now_ms: int) -> tuple[Reading, Health]:
    """State and health as of now.

    Raises:
        CommandError: no Kafka answers, or there is no platform.
    """
    async with open_source(settings.bootstrap, settings.prefix) as source:
        heard = await read_heard(source, HEARD_WINDOW_MS)
        reading = await read_from(source)
        return reading, assess(reading.state, heard, last_tick_ms=reading.last_tick_ms, now_ms=now_ms)


async def platform_status(settings: Settings) -> dict[str, Any]:
    """Everything that `up` shows and waits for; `green` when nothing is missing."""
    import asyncio
    import time

    from streams.topics import KafkaAwayError, check_topics

    status: dict[str, Any] = {"green": False, "missing": [], "brokers": False, "topics_ok": False}
    try:
        await check_reachable(settings.bootstrap)
        faults = await asyncio.to_thread(check_topics, settings.bootstrap, settings.prefix)
    except (KafkaAwayError, CommandError) as error:
        return {**status, "missing": [str(error)]}
    status |= {"brokers": True, "topics_ok": not faults}
    missing = [f"topic {fault.topic} {fault.fault}" for fault in faults]
    if missing:
        return {**status, "missing": missing}
    try:
        reading, health = await read_health(settings, time.time_ns() // 1_000_000)
    except CommandError as error:
        return {**status, "missing": [error.message]}
    # A program or device of somebody else's that went away does not hold up the platform.
    foreign = {*_lone_problems(health), *_sensor_problems(health)}
    missing += [problem for problem in health.problems if problem not in foreign]
    missing += [
        f"pool {pool} is not configured yet"
        for pool in settings.pools or [settings.pool]
        if pool_id(pool) not in reading.state.pools
    ]
    return {**status, **msgspec.structs.asdict(health), "missing": missing, "green": not missing}


def assess(state: State, heard: Heard, *, last_tick_ms: int | None, now_ms: int) -> Health:
    """Judge a state and who was heard; `now_ms` only says how long ago the last tick was."""
    newest = max([*heard.sources.values(), *heard.tickers.values()], default=0)
    tick_ms = heard.last_tick_ms if heard.last_tick_ms is not None else last_tick_ms
    watched = tick_ms is not None and now_ms - tick_ms < UNWATCHED_AFTER_MS
    led_ms = heard.tickers.get(state.term.writer, 0)
    leads = watched and state.term.term >= 0 and newest - led_ms < LEADER_QUIET_MS
    nodes = [row for row in state.nodes.values() if row.status == "active"]
    # With nobody's tick there is no common time to be late against.
    overdue = [
        row.node
        for row in nodes
        if watched and newest - heard.sources.get(row.node, 0) >= state.policy.overdue_ms
    ]
    apps = [row for row in state.apps.values() if row.wanted]
    health = Health(
        problems=[],
        last_tick_ms=tick_ms,
        watched=watched,
        term=state.term.term,
        leader=state.term.writer,
        leads=leads,
        brake_since_ms=state.brake.engaged_at_ms if state.brake.engaged >= 0 else 0,
        brake_words=brake_words(state),
        nodes_active=sum(not row.silent and not row.draining and not row.spare for row in nodes),
        nodes_wanted=sum(pool.nodes for pool in state.pools.values()),
        apps_running=sum(is_app_alive(state, row) for row in apps),
        apps_wanted=len(apps),
        provisioners=sorted(row.pool for row in state.pools.values() if row.registration and not row.silent),
        overdue=sorted(overdue),
        silent=silent_sources(state),
        silent_lone=sorted(row.source for row in state.sources.values() if row.silent),
        sensors_judged=len(state.judged),
        sensors_working=sum(operating_state(state.devices[it]) == "working" for it in state.judged),
        sensors_silent=sorted(it for it in state.judged if state.devices[it].silent),
    )
    return msgspec.structs.replace(health, problems=_problems(state, health, now_ms))


def _problems(state: State, health: Health, now_ms: int) -> list[str]:
    problems = []
    if not health.watched:
        problems.append(_not_watched(health.last_tick_ms, None, now_ms))
    elif not health.leads:
        problems.append("no worker leads: nothing is decided")
    if health.brake_words:
        problems.append(health.brake_words)
    problems += [
        f"pool {pool.pool.removeprefix('pool-')} has no provisioner: no node can be created"
        for pool in state.pools.values()
        if pool.nodes and pool.pool not in health.provisioners
    ]
    problems += [
        f"pool {pool.pool.removeprefix('pool-')} is degraded: {pool.strikes} creations failed in a row"
        for pool in state.pools.values()
        if pool.degraded
    ]
    if health.nodes_active < health.nodes_wanted:
        problems.append(f"{health.nodes_active} of {health.nodes_wanted} nodes are active")
    apart = {*health.silent_lone, *health.sensors_silent}
    if managed := [source for source in health.silent if source not in apart]:
        problems.append(f"silent: {', '.join(managed)}")
    problems += _lone_problems(health)
    problems += _sensor_problems(health)
    return problems + [
        f"{row.app} is {app_status(state, row)}" + (f": {row.pending_reason}" if row.pending_reason else "")
        for row in sorted(state.apps.values(), key=lambda row: row.app)
        if row.wanted and not is_app_alive(state, row) and row.app not in health.silent
    ]


def _lone_problems(health: Health) -> list[str]:
    return [
        f"{source} beats no more; if it has gone for good: monitor forget {source}"
        for source in health.silent_lone
    ]


def _sensor_problems(health: Health) -> list[str]:
    """One sentence, however many there are: a thousand sensors of one gateway fall silent together."""
    silent = health.sensors_silent
    if not silent:
        return []
    more = f" and {len(silent) - _NAMED_MAX} more" if len(silent) > _NAMED_MAX else ""
    return [f"silent sensors: {', '.join(silent[:_NAMED_MAX])}{more}; `sensors disable` if that is meant"]


def silent_sources(state: State) -> list[str]:
    """Everything that ought to beat and does not, as the log has it."""
    nodes = [row.node for row in state.nodes.values() if row.status == "active" and row.silent]
    pools = [row.pool for row in state.pools.values() if row.registration and row.silent]
    apps = [row.app for row in state.apps.values() if row.wanted and row.silent and is_hosted(state, row)]
    lone = [row.source for row in state.sources.values() if row.silent]
    sensors = [name for name in state.judged if state.devices[name].silent]
    return sorted(nodes + pools + apps + lone + sensors)


def brake_words(state: State) -> str:
    """Why the brake is on; empty if it is off."""
    brake = state.brake
    if brake.engaged < 0:
        return ""
    what = "none is replaced"
    if brake.band == "most":
        hold, step = duration(state.policy.brake_hold_ms), duration(state.policy.brake_step_ms)
        what = f"none is replaced for {hold}, then one per {step}"
    elif brake.band == "calm":
        what = f"it ends when it was calm for {duration(state.policy.brake_calm_ms)}"
    return f"{brake.overdue} of {brake.nodes} nodes overdue: brake since {clock(brake.engaged_at_ms)}, {what}"


def promise(state: State) -> str:
    """What detection promises under the policy in force (DESIGN 6)."""
    limit, settling = duration(state.policy.silence_limit_ms), duration(state.policy.settling_ms)
    in_all = duration(state.policy.settling_in_all_ms)
    return (
        f"A silence is found within {limit} + 0.4 s while the partition has no append gap over "
        f"{duration(state.policy.clock_step_max_ms)}; a gap of g makes it up to g + {settling} later, "
        f"a flapping broker up to {in_all} of clock later."
    )


def unwatched_words(reading: Reading, now_ms: int) -> str:
    """Since when nobody has watched; empty if somebody does."""
    tick_ms = reading.last_tick_ms
    if tick_ms is not None and now_ms - tick_ms < UNWATCHED_AFTER_MS:
        return ""
    return _not_watched(tick_ms, reading.oldest_beat_ms, now_ms)


def _not_watched(tick_ms: int | None, oldest_ms: int | None, now_ms: int) -> str:
    if tick_ms is not None:
        return f"not watched since {clock(tick_ms, now_ms=now_ms)} ({duration(now_ms - tick_ms)} ago): no worker ticks"
    if oldest_ms is not None:
        return f"not watched since before {clock(oldest_ms, now_ms=now_ms)}: no worker ticks"
    return "not watched: no worker has ticked for a day, or ever"
