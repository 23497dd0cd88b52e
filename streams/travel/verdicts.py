"""What was recorded and what other rules find, side by side. Pure."""

from __future__ import annotations

from collections import Counter

import msgspec

from sdk.contract.policy import Policy, check_policy
from streams.travel.again import Changes
from streams.travel.recoveries import Recoveries
from streams.travel.replay import Found
from streams.travel.silences import Silence, Totals, totals_of

#: The brake counts nodes from half the limit on, as the built-in policy has it.
_OVERDUE_SHARE = 2


class Column(msgspec.Struct):
    """One set of rules against what was recorded."""

    changes: dict[str, int | bool | str]
    totals: Totals
    #: Silences that only these rules find, and that only the recording has.
    new: list[Silence]
    missing: list[Silence]
    #: Downtime that these rules would have saved; negative: that they would have cost, ms.
    saved_ms: int

    @property
    def is_same(self) -> bool:
        """Whether these rules change nothing."""
        return not self.new and not self.missing and not self.saved_ms


class Comparison(msgspec.Struct):
    """A recording decided again."""

    recorded: Totals
    columns: list[Column]
    events: int
    beats: int
    begin_ms: int
    end_ms: int
    policy: Policy
    #: Whether a restart was recorded, from which the others are reckoned.
    has_recoveries: bool
    #: The broker's clock was set back meanwhile, so that events and heartbeats are out of order around there.
    set_back: bool


def complete_changes(changes: Changes, policy: Policy) -> dict[str, int | bool | str]:
    """Changes with what has to go with them: a limit under `overdue_ms` takes half of itself for that.

    Raises:
        ValueError: an unknown key or a bad value; the text says what is allowed.
    """
    unknown = [key for key in changes if key not in Policy.__struct_fields__]
    if unknown:
        raise ValueError(f"policy.{unknown[0]} is unknown; allowed: {', '.join(Policy.__struct_fields__)}")
    completed = dict(changes)
    limit = completed.get("silence_limit_ms")
    if type(limit) is int and "overdue_ms" not in completed and policy.overdue_ms >= limit:
        completed["overdue_ms"] = limit // _OVERDUE_SHARE
    try:
        check_policy(msgspec.convert(msgspec.structs.asdict(policy) | completed, Policy))
    except msgspec.ValidationError as error:
        raise ValueError(f"policy: {error}") from None
    return completed


def compare_found(found: list[Found], rules: list[Changes]) -> Comparison:
    """All that the replays of groups of partitions found, against what was recorded."""
    recoveries = Recoveries()
    for way, counts in recoveries.counts.items():
        counts.update(Counter(found[0].recoveries[way]))
    recorded = _ordered([silence for each in found for silence in each.recorded])
    for silence in recorded:
        _reckon(silence, recoveries)
    totals = totals_of(recorded)
    columns = []
    for number, rule in enumerate(rules):
        again = _ordered([silence for each in found for silence in each.again[number]])
        changes = {key: value for key, value in rule.items() if value != getattr(found[0].policy, key)}
        columns.append(_column(changes, recorded, again, recoveries, totals))
    return Comparison(
        totals,
        columns,
        found[0].events,
        sum(each.beats for each in found),
        min(each.begin_ms for each in found),
        max(each.end_ms for each in found),
        found[0].policy,
        any(counts for counts in recoveries.counts.values()),
        any(each.set_back for each in found),
    )


def _column(
    changes: Changes, recorded: list[Silence], again: list[Silence], recoveries: Recoveries, totals: Totals
) -> Column:
    of_source: dict[tuple[str, int], list[Silence]] = {}
    for silence in recorded:
        of_source.setdefault((silence.source, silence.epoch), []).append(silence)
    new, same = [], set()
    for silence in again:
        candidates = of_source.get((silence.source, silence.epoch), ())
        known = next((each for each in candidates if each.is_same(silence)), None)
        if known is None:
            new.append(silence)
        else:
            same.add(id(known))
            _adopt(silence, known, changes)
        _reckon(silence, recoveries)
    missing = [silence for silence in recorded if id(silence) not in same]
    sums = totals_of(again)
    return Column(dict(changes), sums, new, missing, totals.downtime_ms - sums.downtime_ms)


def _adopt(silence: Silence, known: Silence, changes: Changes) -> None:
    """What was recorded of a silence holds for it under other rules too, as far as those do not change it."""
    silence.restarts = known.restarts
    if "on_node_failure" not in changes:
        silence.at_once = known.at_once
    silence.at_once = min(silence.at_once, silence.restarts)
    if silence.limit_ms == known.limit_ms:
        # The fact and the verdict are the same, but who wrote the fact may have begun to wait later.
        silence.silent_ms = known.silent_ms


def _reckon(silence: Silence, recoveries: Recoveries) -> None:
    if not silence.restarts:
        return
    if silence.kind == "app":
        silence.recovery_ms = recoveries.median_ms("app")
        return
    waiting = silence.restarts - silence.at_once
    at_once_ms, waiting_ms = recoveries.median_ms("spread"), recoveries.median_ms("new-node")
    silence.recovery_ms = (silence.at_once * at_once_ms + waiting * waiting_ms) // silence.restarts


def _ordered(silences: list[Silence]) -> list[Silence]:
    return sorted(silences, key=lambda each: (each.found_ms, each.partition, each.until_offset, each.source))
