"""The arithmetic of the failover bench, on a log and heartbeats made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from bench.figures import (
    Copy,
    Stopped,
    find_false_facts,
    find_false_restarts,
    first_beats_ms,
    over_limit_ms,
)
from sdk.contract.codec import Recorded, decode_event, encode_event
from sdk.contract.events import (
    AppDeclaredDown,
    AppExited,
    AppPlaced,
    Event,
    NodeDeclaredDown,
    NodeExited,
    OverdueShareChanged,
    Position,
    SourceFellSilent,
)
from sdk.contract.heartbeats import AppEntry, AppStatus, Report
from streams.local.rig_log import Heard, Seen
from tables.fold import Outcome

NODE = "node-127.0.0.1_8082"
OTHER = "node-127.0.0.1_8083"
APP = "application-a"
AT = Position(0, 1)
BASIS: dict[str, Any] = {"term": 1, "based_on": 2, "policy": -1}


def seen(event: Event, *, append_ms: int = 0, dropped: str = "") -> Seen:
    """An event on the log."""
    said = decode_event(encode_event(event, event_id="e", cause="", writer="w", at_ms=0))
    assert isinstance(said, Recorded)
    return Seen(7, append_ms, said, Outcome(dropped))


def report(append_ms: int, *, node: str = NODE, generation: int = 0, status: AppStatus = "running") -> Heard:
    """A report, with one app if a generation is given."""
    apps = [AppEntry(APP, generation, status, 0)] if generation else []
    return Heard(0, append_ms, append_ms, Report(node, 5, 6, 1, 0, apps))


def silence(source: str, epoch: int = 0) -> SourceFellSilent:
    """A silence fact."""
    kind = "node" if source.startswith("node") else "app" if source == APP else "lone"
    return SourceFellSilent(source, kind, epoch, "t", 0, 1, 2, 10_001, 10_000)  # type: ignore[arg-type]


def placed(replaces: int) -> AppPlaced:
    """A placement of the app."""
    return AppPlaced(app=APP, node=NODE, registration=5, replaces=replaces, reason="new", **BASIS)


def test_over_limit_counts_from_the_last_report_before_the_fact() -> None:
    """Reports of others and those after the fact do not count."""
    fact = seen(silence(NODE), append_ms=20_212)
    heard = [report(7_000), report(10_000), report(15_000, node=OTHER), report(20_300)]

    assert over_limit_ms(fact, heard, node=NODE, limit_ms=10_000) == 212


def test_over_limit_without_a_report() -> None:
    """A fact about a node that never reported has nothing to be measured against."""
    with pytest.raises(LookupError, match=NODE):
        over_limit_ms(seen(silence(NODE)), [], node=NODE, limit_ms=10_000)


def test_first_beat_is_the_first_report_that_names_the_generation_as_beating() -> None:
    """Old generations, copies that have not beaten yet and later reports do not count."""
    heard = [
        report(1, generation=8),
        report(2, generation=9, status="starting"),
        report(3, generation=9),
        report(4, generation=9),
    ]

    assert first_beats_ms(heard, {APP: 9, "application-b": 9}) == {APP: 3}


@pytest.mark.parametrize(
    "event",
    [
        silence(NODE, 5),
        silence(APP, 8),
        silence("service-worker-1"),
        AppExited(APP, 8, NODE, "exited", AT),
        NodeExited(3, "pool-local", NODE, "killed", AT),
    ],
)
def test_fact_is_false_unless_the_bench_stopped_what_it_is_about(event: Event) -> None:
    """Each kind of accusation counts, accepted or not, unless its subject was stopped."""
    stopped = Stopped()
    stopped.add_node(NODE, [Copy(APP, 8)])
    stopped.sources.add("service-worker-1")

    assert len(find_false_facts([seen(event), seen(event, dropped="stale")], Stopped())) == 2
    assert find_false_facts([seen(event)], stopped) == []


def test_later_generation_of_a_stopped_copy_is_nobody_s_victim() -> None:
    """What came back is part of the control group again."""
    stopped = Stopped()
    stopped.add_node(NODE, [Copy(APP, 8)])

    assert find_false_facts([seen(AppExited(APP, 9, OTHER, "lost", AT))], stopped)
    assert find_false_restarts([seen(placed(9))], stopped)


def test_overdue_share_is_false_unless_calm() -> None:
    """One node of three never crosses a bound."""
    changes = [seen(OverdueShareChanged(1, band, 2, 3, [AT])) for band in ("calm", "most")]

    assert find_false_facts(changes, Stopped()) == changes[1:]


@pytest.mark.parametrize(
    "event",
    [
        placed(8),
        AppDeclaredDown(app=APP, generation=8, reason="silent", **BASIS),
        NodeDeclaredDown(node=NODE, registration=5, reason="silent", destroy=True, **BASIS),
    ],
)
def test_restart_is_false_unless_the_bench_stopped_what_it_replaces(event: Event) -> None:
    """Each kind of restart counts if it counted for the fold, unless its subject was stopped."""
    stopped = Stopped()
    stopped.add_node(NODE, [Copy(APP, 8)])

    assert len(find_false_restarts([seen(event), seen(event, dropped="stale")], Stopped())) == 1
    assert find_false_restarts([seen(event)], stopped) == []


def test_first_copy_is_no_restart() -> None:
    """A placement that replaces nothing restarts nothing."""
    assert find_false_restarts([seen(placed(0))], Stopped()) == []


def test_app_asked_to_stop_may_do_as_it_likes() -> None:
    """Every generation of an app that was asked to stop is excused."""
    stopped = Stopped()
    stopped.apps.add(APP)

    assert find_false_facts([seen(AppExited(APP, 77, NODE, "exited", AT))], stopped) == []
