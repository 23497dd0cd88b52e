"""Apps that move and a node that is drained, as real processes; and why each is where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from sdk.contract.events import AppExited, AppPrepared
from sdk.contract.requests import DrainNode, MoveApp, UncordonNode
from sdk.contract.specs import AppSpec
from streams.local.rig import BEATING, Rig
from tests.integration.checks import apps_on, check_end
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

APPS = [f"application-{number}" for number in range(4)]
PAIR = ["application-pair-1", "application-pair-2"]


@pytest.fixture(scope="module")
def rig(create_rig: CreateRig) -> Iterator[Rig]:
    """A platform with two nodes and four copies of one thing, which need some memory; nothing is ever restarted."""
    rig = create_rig("moves")
    rig.start(nodes=2, slots=8)
    rig.run_apps([AppSpec(app=app, command=BEATING, memory_mib=50, group="beats") for app in APPS])
    yield rig
    assert rig.accepted(AppExited) == []
    check_end(rig, 0)


def _why(rig: Rig, app: str) -> dict[str, Any]:
    """What `apps show --why` says of a placement."""
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    result = CliRunner().invoke(main, ["apps", "show", app, "--why", "-o", "json", *where])
    assert result.exit_code == 0, result.output
    placement: dict[str, Any] = json.loads(result.stdout)["placement"]
    return placement


def test_nodes_say_what_they_have_and_how_busy_they_are(rig: Rig) -> None:
    """Each node's row has its processor and memory; placements cite measured loads, and copies are spread."""
    state = rig.state()
    assert all(row.cpu_percent > 0 and row.memory_mib > 0 for row in state.nodes.values())
    # Copies of a group of their own: the other tests move those of the fixture about.
    rig.run_apps([AppSpec(app=app, command=BEATING, memory_mib=50, group="pair") for app in PAIR])
    state = rig.state()
    assert len({state.apps[app].node for app in PAIR}) == len(PAIR)
    why = _why(rig, PAIR[-1])
    assert why["differences"] == []
    assert why["nodes"][0]["node"] == state.apps[PAIR[-1]].node
    assert why["nodes"][0]["score"]["measured"]


def test_moved_app_has_two_copies_for_a_moment_and_never_none(rig: Rig) -> None:
    """The second copy beats before the first is told to stop."""
    before = rig.state().apps[APPS[0]]
    first = rig.app_pid(APPS[0])
    with rig.watch_copies() as copies:
        rig.ask(MoveApp(APPS[0]))
        rig.wait(lambda state: state.apps[APPS[0]].generation > before.generation, what="the app moved")
        rig.wait(
            lambda _: first not in {copy.pid for copy in rig.copies()},
            what="the first copy's end",
            within_s=15,
        )
    after = rig.state().apps[APPS[0]]
    assert after.node != before.node
    (double,) = copies.doubles
    assert double == f"{APPS[0]} ran in generations {[before.generation, after.generation]} at once"
    assert _why(rig, APPS[0])["differences"] == []


def test_drained_node_is_empty_and_takes_apps_again(rig: Rig) -> None:
    """One app after the other leaves; the node stays, cordoned, until somebody uncordons it."""
    node = rig.node_of(APPS[0])
    left, since = apps_on(rig, node), rig.log.offset + 1
    rig.ask(DrainNode(node))
    rig.wait(lambda state: all(state.apps[app].node != node for app in left), what="the node empty")
    assert rig.state().nodes[node].cordoned
    assert {prepared.app for _, prepared in rig.accepted(AppPrepared, since)} == set(left)
    rig.wait_running(APPS)

    rig.ask(UncordonNode(node))
    rig.ask(MoveApp(APPS[0], node))
    rig.wait(lambda state: state.apps[APPS[0]].node == node, what="an app back on the node")
