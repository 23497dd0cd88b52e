"""When an agent says "as before", and when it says all."""

import itertools
from collections.abc import Callable

import pytest

from agents import inputs as i
from agents.state import FULL_EVERY_MS, UNHEARD_MS
from sdk.contract.heartbeats import Hello, Report, Unchanged
from tests.agents.rig import Rig, app

_A, _B = "application-a", "application-b"


def _beating(rig: Rig, ms: int) -> list[Report | Unchanged]:
    """Time passes, both apps beat each second; what was reported meanwhile."""
    out: list[i.Instruction] = []
    for _ in range(ms // 1_000):
        out += rig.wait(1_000)
        out += rig.give(i.Beaten(_A, 90), i.Beaten(_B, 91))
    return _said(out)


def _said(out: list[i.Instruction]) -> list[Report | Unchanged]:
    return [it.record for it in out if isinstance(it, i.Send) and isinstance(it.record, Report | Unchanged)]


@pytest.fixture
def rig() -> Rig:
    """A node whose two apps beat, and that has said so in full; Kafka tells where its reports stand."""
    rig = Rig()
    rig.offset = 100
    rig.register(app(_A, 90), app(_B, 91))
    rig.give(i.Spawned(_A, 90, 1), i.Spawned(_B, 91, 2), i.Beaten(_A, 90), i.Beaten(_B, 91))
    _beating(rig, 3_000)
    return rig


def test_rest_is_said_in_short_and_in_full_now_and_then(rig: Rig) -> None:
    """Of a minute most reports are short; a full one comes at least every 20 s and is the one that is named."""
    offsets: dict[int, int] = {}
    said: list[tuple[int, Report | Unchanged]] = []
    for _ in range(60):
        before = rig.offset
        for record in _beating(rig, 1_000):
            before += 7
            offsets[record.number] = before
            said.append((rig.now_ms, record))
    fulls = [(at_ms, it) for at_ms, it in said if isinstance(it, Report)]
    shorts = [it for _, it in said if isinstance(it, Unchanged)]

    assert len(shorts) > 4 * len(fulls)
    assert all(later - sooner <= FULL_EVERY_MS for (sooner, _), (later, _) in itertools.pairwise(fulls))
    named = {offsets[it.number] for _, it in fulls}
    assert {it.full for it in shorts if it.number > fulls[0][1].number} <= named


def _late(rig: Rig) -> None:
    for _ in range(10):
        rig.wait(1_000)
        rig.give(i.Beaten(_A, 90))


@pytest.mark.parametrize(
    "change",
    [
        lambda rig: rig.give(i.Exited(_A, 90, 1)),
        _late,
        lambda rig: rig.give(rig.node_orders(app(_A, 90), app(_B, 91), as_of=130)),
        lambda rig: rig.give(rig.node_orders(app(_A, 90), as_of=130)),
        lambda rig: rig.give(rig.node_orders(app(_A, 90), app(_B, 120), as_of=130)),
    ],
    ids=["exit", "late", "other orders", "one less", "another generation"],
)
def test_change_is_said_in_full(rig: Rig, change: Callable[[Rig], object]) -> None:
    """Whatever happens to an app or in the orders, the next report names every app."""
    since = len(rig.history)
    change(rig)
    rig.wait(2_800)
    said = _said([it for _, it in rig.history[since:]])

    assert isinstance(said[-1], Report)


def test_beat_that_was_late_is_told_in_full_when_it_came(rig: Rig) -> None:
    """Nobody has to conclude from "as before" that an app beats again."""
    _late(rig)
    said = _said(rig.give(i.Beaten(_B, 91)) + rig.wait(20))

    assert [type(it) for it in said] == [Report]
    assert isinstance(said[0], Report)
    assert all(entry.age_ms < 1_000 for entry in said[0].apps)


def test_report_with_an_old_beat_is_never_named(rig: Rig) -> None:
    """After a beat that was somewhat old a full report comes first: who judges by a shorter limit goes by it."""
    for _ in range(8):
        rig.wait(1_000)
        rig.give(i.Beaten(_A, 90))
    old = rig.last_report()
    assert isinstance(old, Report)
    assert max(entry.age_ms for entry in old.apps) > 6_000
    rig.give(i.Beaten(_B, 91))
    after = _said(rig.wait(2_800))

    assert isinstance(after[0], Report)


def test_unheard_agent_says_all_for_a_while(rig: Rig) -> None:
    """After Kafka was away the first reports are full: one that was sent twice may stand in any order."""
    rig.is_kafka_there = False
    _beating(rig, 8_000)
    rig.is_kafka_there = True
    back = _beating(rig, 3_000)
    first_ms = rig.now_ms
    later = _beating(rig, UNHEARD_MS + 6_000)

    assert back
    assert all(isinstance(it, Report) for it in back)
    assert isinstance(later[-1], Unchanged)
    assert rig.now_ms > first_ms


def test_report_is_not_named_before_it_stands(rig: Rig) -> None:
    """While Kafka does not say where a report stands, every report is full."""
    rig.offset = -1
    said = _beating(rig, 30_000)

    assert all(isinstance(it, Report) for it in said[8:])


def test_agent_that_was_started_again_begins_in_full() -> None:
    """It knows nothing of what stands in the partition."""
    rig = Rig()
    rig.offset = 100
    rig.run(app(_A, 90))
    first = next(
        it.record for _, it in rig.history if isinstance(it, i.Send) and not isinstance(it.record, Hello)
    )

    assert isinstance(first, Report)
