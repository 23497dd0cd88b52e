"""`verify certificates`: the independent checker led over a stretch of the log. Shell."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from streams.log_source import Entry, ProgressCallback, no_progress
from streams.travel.checker import Checker, Finding
from streams.travel.heartbeats import Heartbeats, cited_by
from streams.travel.logs import TravelLog


class Proof(NamedTuple):
    """What the checker found in a stretch."""

    #: Verdict -> records.
    verdicts: dict[str, int]
    #: Every record that failed, in the order of the log.
    failed: list[Finding]


async def judge(checker: Checker, heartbeats: Heartbeats, entry: Entry) -> Finding:
    """What the checker makes of a record, of which it has read everything before it.

    What is cited beyond the end of a partition is not gone: it never was.
    """
    cited = cited_by(getattr(entry.said, "event", None), checker)
    await heartbeats.need(cited)
    found = checker.check(entry.offset, entry.append_ms, entry.raw, heartbeats.beats)
    if found.verdict == "recorded" and checker.named_topic == heartbeats.topic_id:
        for partition, _, last in cited:
            if last >= heartbeats.ends.get(partition, last + 1):
                return Finding(entry.offset, "failed", f"heartbeat {partition}/{last} was never written")
    return found


async def verify_certificates(
    log: TravelLog,
    heartbeats: Heartbeats,
    *,
    start: int,
    end: int,
    progress: ProgressCallback = no_progress,
) -> Proof:
    """Check every record from `start` to before `end`; what comes before is read, for decisions rest on it too."""
    checker = Checker(heartbeats.topic_id)
    verdicts: Counter[str] = Counter()
    failed: list[Finding] = []
    async for batch in log.batches(0, end, progress):
        for entry in batch:
            wanted = entry.offset >= start
            if not wanted:
                checker.check(entry.offset, entry.append_ms, entry.raw, {})
            else:
                found = await judge(checker, heartbeats, entry)
                verdicts[found.verdict] += 1
                if found.verdict == "failed":
                    failed.append(found)
    return Proof(dict(sorted(verdicts.items())), failed)
