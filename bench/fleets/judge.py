"""Whether the watcher found what was true, how late, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

#: What was silent for this much longer than the limit when it came back, or the run ended, had to be found, ms.
#: Source: the promise (limit and 0.4 s), and as much again for a machine that does other things.
GRACE_MS: Final = 3_000
#: An app's last beat is dated by the loader's clock and its age by whole ms.
_CLOCK_MS: Final = 20


class Truth(msgspec.Struct, frozen=True):
    """One outage as it came to pass."""

    source: str
    #: Append time of its last record; of an app, when its last beat was.
    last_ms: int
    #: Append time of its first record after that, 0 if there was none until the end.
    back_ms: int


class Found(msgspec.Struct, frozen=True):
    """One fact that the watcher wrote."""

    source: str
    returned: bool
    #: Append time of the fact.
    at_ms: int


class Verdicts(msgspec.Struct, frozen=True):
    """What came of all outages."""

    over_limit_ms: list[int]
    missed: list[str]
    invented: list[str]
    #: Found, heard again, and no fact says so.
    not_returned: list[str]


def judge(truths: Iterable[Truth], found: Iterable[Found], *, end_ms: int, limit_ms: int) -> Verdicts:
    """Compare what was true with what was said; `end_ms` is when the loader stopped."""
    by_source = {truth.source: truth for truth in truths}
    silences: dict[str, Found] = {}
    returns = set()
    invented = []
    for fact in sorted(found, key=lambda it: it.at_ms):
        truth = by_source.get(fact.source)
        if fact.returned:
            returns.add(fact.source)
            is_true = truth is not None and fact.source in silences
        else:
            is_true = truth is not None and _was_silent(truth, fact, limit_ms) and fact.source not in silences
            silences.setdefault(fact.source, fact)
        if not is_true:
            invented.append(fact.source)
    over, missed, not_returned = [], [], []
    for source, truth in by_source.items():
        silence = silences.get(source)
        if silence is not None and source not in invented:
            over.append(silence.at_ms - truth.last_ms - limit_ms)
            if truth.back_ms and truth.back_ms + GRACE_MS < end_ms and source not in returns:
                not_returned.append(source)
        elif silence is None and (truth.back_ms or end_ms) - truth.last_ms >= limit_ms + GRACE_MS:
            missed.append(source)
    return Verdicts(over, missed, invented, not_returned)


def _was_silent(truth: Truth, fact: Found, limit_ms: int) -> bool:
    """Whether it was silent for the limit when the fact was written, or had been until a moment before."""
    until_ms = truth.back_ms or fact.at_ms
    return fact.at_ms >= truth.last_ms and until_ms - truth.last_ms >= limit_ms - _CLOCK_MS
