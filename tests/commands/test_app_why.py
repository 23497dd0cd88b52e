"""`apps show --why`: the words and numbers for people."""

from sdk.contract.events import AppPlaced, NodeScore, Position
from streams.commands.app_why import Why, why_document, why_text
from tables.hindsight import Judged
from tables.room import UNBOUNDED, Need

_BEST = NodeScore("node-a_1", cost=750, cpu_permille=250, memory_permille=480, measured=Position(3, 4711))
_SECOND = NodeScore("node-a_2", 1, 2, 0, 400)


def _why(*, differences: list[str], ranking: list[NodeScore]) -> Why:
    placed = AppPlaced(
        term=1, based_on=40, policy=7, app="application-a", node="node-a_1", registration=9, replaces=0,
        reason="failure", ranking=ranking, fell_out={"cordoned": 1},
    )  # fmt: skip
    judged = [
        Judged("node-a_1", Need(2, 150, 300), [], _BEST),
        Judged("node-a_2", Need(1, UNBOUNDED, UNBOUNDED), [], _SECOND),
        Judged("node-a_3", Need(4, 0, 0), ["cordoned"], None),
    ]
    return Why(41, placed, judged, differences)


def test_every_node_has_its_line() -> None:
    """The table says of each node what it was worth, what was free and why it fell out, and cites the load."""
    lines = why_text(_why(differences=[], ranking=[_BEST, _SECOND])).splitlines()

    assert lines[0] == "placed on node-a_1 by event 41 (failure), from the state at 40 under policy 7"
    rows = [line.split() for line in lines[3:6]]
    assert rows[0][:6] == ["node-a_1", "chosen", "2", "slots,", "1.5", "cores,"]
    assert "cpu 25 % memory 48 % (report 3:4711)" in lines[3]
    assert rows[1][:8] == ["node-a_2", "place", "2", "1", "slots", "1", "2", "0"]
    assert rows[2][:2] == ["node-a_3", "cordoned"]
    assert "Fell out then: cordoned 1." in lines[-2]
    assert lines[-1] == "The scores that the event carries are those derived here."


def test_what_differs_is_said() -> None:
    """An event that says something else than the log gives is called out."""
    text = why_text(_why(differences=["node-a_1: recorded 1, derived 2"], ranking=[_BEST]))
    assert text.endswith("DIFFERS from what the event says: node-a_1: recorded 1, derived 2.")


def test_place_that_was_kept_has_no_ranking() -> None:
    """An app that went to the node ordered for it was not compared with others."""
    why = _why(differences=[], ranking=[])
    assert "no other was looked at" in why_text(why)
    assert [node["node"] for node in why_document(why)["nodes"]] == ["node-a_1", "node-a_2", "node-a_3"]
