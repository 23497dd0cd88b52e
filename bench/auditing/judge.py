"""Reads what a run has left on the topics and says which rules do not hold. Pure, apart from the order of calls.

The rules of the log are the simulator's (`tests.simulation.log_rules`). What needs the truth is in `peace`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Final

from bench.auditing.journal import Truth, load_truth
from bench.auditing.peace import Peace
from bench.auditing.recorded import Event, Topics, decode_topics, load_records
from bench.auditing.timeline import Timeline, judge_found
from sdk.contract.codec import Recorded
from sdk.contract.events import Band, Position
from sdk.contract.events import Event as AnyEvent
from tables.decide import decide
from tables.fold import Meta, Outcome
from tables.witness import Load
from tests.simulation.log_rules import Finding, LogRules, Said, judge_orders, judge_split

#: Splits of the log at which a fold is saved and loaded.
SPLITS: Final = 5


class Judge(LogRules):
    """The rules of the log, and beside them those that ask the journal."""

    def __init__(self, topics: Topics, truth: Truth) -> None:
        super().__init__(lambda partition: topics.heartbeats[partition])
        self.timeline = Timeline()
        self.peace = Peace(truth, self.state, topics.heartbeats)
        self.now_ms = 0
        self.findings: list[Finding] = []

    def judge_before(self, event: AnyEvent) -> Finding | None:
        """What the truth has against an event comes first."""
        return super().judge_before(event) or self.peace.judge(event, self.now_ms)

    def folded(self, said: Recorded, meta: Meta, outcome: Outcome) -> None:
        """Keep when each node was expected to speak, and which copy was placed when."""
        if outcome.accepted:
            self.peace.note(said.event, meta)
            self.timeline.note(said.event, self.state, meta)


def judge_topics(topics: Topics, truth: Truth, *, faults: int, seed: int) -> Judge:
    """A judge who has read everything; `findings` has every rule that does not hold."""
    judge = Judge(topics, truth)
    found = judge.findings
    for record in topics.events:
        judge.now_ms = record.meta.append_ms
        found += [
            Finding(it.rule, f"offset {record.meta.offset}, {record.meta.append_ms} ms: {it.text}")
            for it in judge.judge_record(record.said, record.meta)
        ]
    flood = judge.judge_flood(faults)
    found += [flood] if flood else []
    records = [Said(record.said, record.meta) for record in topics.events]
    chance = Random(f"splits/{seed}")
    for _ in range(SPLITS):
        found += judge_split(records, judge.state, chance.randint(0, len(records)))
    topic_ids = {orders.topic_id for orders in topics.orders.values()}
    if len(topic_ids) > 1:
        found.append(Finding("one log", f"orders name {sorted(topic_ids)}"))
    found += judge_orders(judge.state, topics.orders, topic_id=next(iter(topic_ids), ""))
    found += judge_answers(topics, truth)
    found += judge_letters(topics)
    found += judge_found(judge.timeline, topics.heartbeats, truth, judge.policies)
    found += judge.peace.judge_processes()
    if decisions := decide(judge.state, Calm()):
        found.append(Finding("decisions settle", f"at the end there is still {decisions[0]}"))
    return judge


def judge_folder(folder: Path) -> list[Finding]:
    """What the judges say of the folder of a run that was kept."""
    topics = decode_topics(load_records(folder / "records.jsonl"))
    truth = load_truth(folder / "journal.jsonl")
    faults = sum(not trouble.what.startswith(("ask", "stall")) for trouble in truth.troubles)
    return judge_topics(topics, truth, faults=faults, seed=0).findings


def judge_answers(topics: Topics, truth: Truth) -> list[Finding]:
    """Every request that was acknowledged stands on its topic and has one answer on the log."""
    answers = Counter(
        event.said.cause for event in topics.events if isinstance(event.said, Recorded) and event.said.cause
    )
    there = set(topics.requests)
    found = []
    for sent in truth.sent:
        if sent.request not in there:
            found.append(Finding("acknowledged requests are kept", f"{sent}"))
        elif not answers[sent.request]:
            found.append(Finding("acknowledged requests are answered", f"{sent}"))
    return found


def judge_letters(topics: Topics) -> list[Finding]:
    """Each record that cannot be used has one dead letter."""
    counted = Counter((letter.topic, letter.partition, letter.offset) for letter in topics.letters)
    return [
        Finding("garbage has a dead letter", f"{place} has {counted[place]}")
        for place in topics.garbage
        if not counted[place]
    ]


def judge_kept(seen: Iterable[tuple[int, bytes | None]], events: list[Event]) -> list[Finding]:
    """What somebody once read of the log must stand there for ever."""
    return [
        Finding("what was read stays", f"offset {offset} is another record now")
        for offset, raw in seen
        if offset >= len(events) or events[offset].raw != raw
    ]


class Calm:
    """A watcher to whom everybody speaks: the witness of a platform that is well."""

    def confirm_silence(self, source: str, epoch: int) -> Position | None:
        """Nobody is silent."""
        del source, epoch
        return None  # the answer is "it does not hold", not no answer

    def confirm_heard(self, node: str) -> Position | None:
        """Everybody was heard."""
        del node
        return Position(0, 0)

    def knows(self, node: str) -> bool:
        """So it is known of everybody."""
        del node
        return True

    def measured_load(self, node: str) -> Load | None:
        """Of nobody is it known how busy he is."""
        del node
        return None  # nothing that is judged rests on it

    def has_beaten(self, app: str, generation: int) -> bool | None:
        """Every copy has."""
        del app, generation
        return True

    def has_hello(self, order: int) -> bool | None:
        """Every agent has."""
        del order
        return True

    def overdue_band(self) -> Band | None:
        """None is overdue."""
        return "calm"


if __name__ == "__main__":
    for finding in judge_folder(Path(sys.argv[1])):
        print(f"{finding.rule}: {finding.text}")
