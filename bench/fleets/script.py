"""What happens to whom, and when: a pure function of size, length and seed.

A subject is hit once at most, so what is true of it needs no history. A third of the outages are shorter than the
silence limit and must not be found; of the others half end and half last.
"""

from __future__ import annotations

import random
from typing import Final, Literal, NamedTuple

from bench.fleets.crowd import Size

Kind = Literal["node", "app", "lone"]
#: Nothing happens in the first minute, of short runs a fifth, nor so late that it could not be found. A million sources
#: that all begin at once are behind for half of that; what a start costs is measured by `bench.starts`.
QUIET_START_MS: Final = 60_000
QUIET_END_MS: Final = 16_000
#: Between two outages, ms, on average.
EVERY_MS: Final = 500
_SHORT_MS: Final = (1_000, 5_000)
_LONG_MS: Final = (15_000, 30_000)


class Outage(NamedTuple):
    """One subject says nothing from here to there, ms after the start."""

    kind: Kind
    #: Number of the node or of the lone source, and of the app on the node.
    number: int
    app: int
    from_ms: int
    #: 0: for ever.
    until_ms: int


def write_script(size: Size, *, duration_ms: int, seed: int) -> list[Outage]:
    """The outages in their order."""
    chance = random.Random(seed)  # chance for a script that can be repeated
    begin = min(QUIET_START_MS, duration_ms // 5)
    end = max(begin + 1, duration_ms - QUIET_END_MS)
    hit: set[tuple[Kind, int]] = set()
    found = []
    for _ in range(max(3, (end - begin) // EVERY_MS)):
        kind = _pick(size, chance)
        number = chance.randrange(size.lone if kind == "lone" else size.nodes)
        # One outage a node, be it its own or an app's: nothing is said of apps whose node is silent.
        place: tuple[Kind, int] = ("lone" if kind == "lone" else "node", number)
        if place in hit:
            continue
        hit.add(place)
        at = chance.randrange(begin, end)
        app = chance.randrange(size.apps_per_node) if kind == "app" else -1
        until = {
            "short": at + chance.randint(*_SHORT_MS),
            "long": at + chance.randint(*_LONG_MS),
            "for ever": 0,
        }[chance.choice(("short", "long", "for ever"))]
        found.append(Outage(kind, number, app, at, until))
    return sorted(found, key=lambda outage: outage.from_ms)


def _pick(size: Size, chance: random.Random) -> Kind:
    kinds: list[Kind] = []
    if size.nodes:
        kinds.append("node")
        if size.apps_per_node:
            kinds.append("app")
    if size.lone:
        kinds.append("lone")
    return chance.choice(kinds)
