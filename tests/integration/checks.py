"""What must hold at the end of every scenario, apart from the scenarios; the sentences that do not hold, for people."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from sdk.contract.codec import Recorded
from sdk.contract.events import (
    AppDeclaredDown,
    AppExited,
    AppGaveUp,
    AppHeldBack,
    AppPlaced,
    Event,
    NodeDeclaredDown,
    NodeExited,
    NodeOrderWithdrawn,
    PoolHeldBack,
    SourceFellSilent,
)
from streams.local.rig import Rig
from streams.settings import Settings
from streams.travel.heartbeats import open_heartbeats
from streams.travel.logs import open_log
from streams.travel.proving import verify_certificates


def false_facts(rig: Rig, since: int, *, touched: Iterable[str] = ()) -> list[str]:
    """Silences, ends and restarts from offset `since` on of things that the scenario did not touch."""
    allowed = set(touched)
    return [
        str(seen)
        for seen in rig.events(since)
        if seen.outcome.accepted
        and isinstance(seen.said, Recorded)
        and (victim := victim_of(seen.said.event)) is not None
        and victim not in allowed
    ]


def victim_of(event: Event) -> str | None:
    """The node, app or source that an event accuses or starts again; None for an event that does neither."""
    match event:
        case SourceFellSilent():
            return event.source
        case NodeExited() | NodeDeclaredDown():
            return event.node
        case NodeOrderWithdrawn() | PoolHeldBack():
            return event.pool
        case AppExited() | AppDeclaredDown() | AppHeldBack() | AppGaveUp():
            return event.app
        case AppPlaced() if event.replaces:
            return event.app
        case _:
            return None


def check_end(rig: Rig, since: int, *, touched: Iterable[str] = ()) -> None:
    """Fail unless the view equals the log, all invariants hold and nobody was accused who was not touched."""
    assert false_facts(rig, since, touched=touched) == []
    assert rig.verify() == []
    assert asyncio.run(_unproven(rig)) == []


async def _unproven(rig: Rig) -> list[str]:
    """Facts and decisions that the records they cite do not bear out."""
    settings = Settings(bootstrap_servers=rig.bootstrap, prefix=rig.prefix)
    async with open_log(settings) as log, open_heartbeats(settings) as heartbeats:
        proof = await verify_certificates(log, heartbeats, start=0, end=log.end)
    return [f"{found.offset}: {found.text}" for found in proof.failed]


def apps_on(rig: Rig, node: str) -> list[str]:
    """The apps whose generation in force sits on this node."""
    state = rig.state()
    return sorted(app for app, row in state.apps.items() if row.node == node)


def ports_known(rig: Rig) -> list[int]:
    """Every port that the log knows of a node."""
    return sorted(row.port for row in rig.state().nodes.values())
