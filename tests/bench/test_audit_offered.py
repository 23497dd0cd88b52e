"""How much of the planned load was offered, on a journal and heartbeats made by hand."""

from __future__ import annotations

from pathlib import Path

from bench.auditing.cut_proxy import find_inode
from bench.auditing.journal import Journal, Trouble, Truth
from bench.auditing.offered import Offered, share_of_reports, share_of_requests
from bench.auditing.recorded import Heard
from bench.auditing.timeline import Expected
from sdk.contract.heartbeats import Report
from tests.bench.audited import sent

NODE = "node-127.0.0.1_8082"
#: As the kernel prints it: a listener, a client of it, and the other end of that.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0
   1: 0100007F:9C40 0100007F:2384 01 00000000:00000000 00:00000000 00000000     0        0 101 1 0
   2: 0100007F:2384 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0
"""


def test_requests_late_for_another_reason_than_the_broker_do_not_count() -> None:
    """Five seconds of grace, and the time in which the audit itself kept the broker away."""
    truth = Truth(
        troubles=[Trouble("pause broker", ["broker"], 10_000, 24_000)],
        sent=[
            sent("a", planned_ms=1_000, acknowledged_ms=1_010),
            sent("b", planned_ms=12_000, acknowledged_ms=25_000),
            sent("c", planned_ms=40_000, acknowledged_ms=46_000),
        ],
    )

    assert share_of_requests(truth, 4) == 0.5


def test_reports_are_expected_of_nodes_in_peace_only() -> None:
    """Stretches near a fault count neither way, one without a report counts against."""
    truth = Truth(troubles=[Trouble("pause node", [NODE], 50_000, 60_000)])
    reports = [Heard(n, n * 2_500, Report(NODE, 1, 1, n, 0, [])) for n in range(60) if n not in {4, 5}]

    share = share_of_reports(
        [Expected(NODE, 1, 0, 0, 0, 1 << 60, "claim")], [reports], truth, from_ms=0, until_ms=120_000
    )

    # 24 stretches, of which 7 are excused (from 45 to 80 s) and the one from 10 s on is empty.
    assert share == 16 / 17


def test_ratio_is_the_smallest_share() -> None:
    """No share hides another."""
    assert Offered(1.0, 0.7, 0.9).ratio == 0.7


def test_owner_of_a_connection_is_its_client() -> None:
    """The socket of the client is found, not our own end of it."""
    assert find_inode(TCP, 40_000, 9_092) == "101"
    assert not find_inode(TCP, 40_001, 9_092)


def test_journal_knows_who_was_touched_when(tmp_path: Path) -> None:
    """Troubles have a begin and an end, and everything is written down as it happens."""
    journal = Journal(tmp_path / "journal.jsonl")
    trouble = journal.begin("pause node", [NODE, "application-a"], mute=True)
    now = trouble.begin_ms

    assert journal.truth.mute_since_ms(NODE, now + 5_000) == now
    journal.end(trouble)
    assert journal.truth.touched("application-a", from_ms=now, until_ms=now)
    assert not journal.truth.touched(NODE, from_ms=trouble.end_ms + 1, until_ms=trouble.end_ms + 2)
    assert not journal.truth.touched("other", from_ms=0, until_ms=1 << 60)
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 2
