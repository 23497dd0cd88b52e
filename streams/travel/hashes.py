"""`verify --hashes`: every `FoldHashed` of a log compared with a fold of it. Shell."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from sdk.contract.codec import Recorded
from sdk.contract.events import FoldHashed
from streams.log_source import ProgressCallback, fold_entry, no_progress
from streams.travel.logs import TravelLog
from tables.digest import Digest
from tables.state import State


class WrongHash(NamedTuple):
    """A hash that another fold of the same log does not come to."""

    #: Offset of the record that says so, and of the last record that it speaks of.
    offset: int
    as_of: int
    said: str
    #: Empty if the log has no record at `as_of`.
    folded: str
    #: The version of the fold that came to it.
    fold_version: int


class Hashes(NamedTuple):
    """What was found in a log."""

    checked: int
    events: int
    #: In the order of the log; the first is where folds part.
    wrong: list[WrongHash]


async def verify_hashes(log: TravelLog, progress: ProgressCallback = no_progress) -> Hashes:
    """Fold a log and compare at each offset that a hash on it speaks of.

    The log is read twice, because a hash stands after what it speaks of. One of a term that was over counts like any
    other: what its writer had folded is the same log.
    """
    end = log.end
    said: dict[int, list[tuple[int, FoldHashed]]] = defaultdict(list)
    async for batch in log.batches(0, end, lambda done, total: progress(done, 2 * total)):
        for entry in batch:
            if isinstance(entry.said, Recorded) and isinstance(entry.said.event, FoldHashed):
                said[entry.said.event.as_of].append((entry.offset, entry.said.event))
    state = State()
    digest = Digest(state)
    wrong: list[WrongHash] = []
    checked = sum(map(len, said.values()))
    async for batch in log.batches(0, end, lambda done, total: progress(total + done, 2 * total)):
        for entry in batch:
            fold_entry(state, entry)
            if claims := said.pop(entry.offset, []):
                folded = digest.take()
                wrong += [_wrong(at, claim, folded) for at, claim in claims if claim.hash != folded]
    wrong += [_wrong(at, claim, "") for claims in said.values() for at, claim in claims]
    return Hashes(checked, end, sorted(wrong, key=lambda each: (each.as_of, each.offset)))


def _wrong(offset: int, claim: FoldHashed, folded: str) -> WrongHash:
    return WrongHash(offset, claim.as_of, claim.hash, folded, claim.fold_version)
