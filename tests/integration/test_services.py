"""Services that apps need, apps that finish, and maintenance, as real processes on a real Kafka."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from cli import main
from sdk.contract.events import AppDeclaredDown, AppFinished, AppPlaced, AppStarted, NodeDeclaredDown
from streams.commands.applying import apply_specs
from streams.local.rig import Rig, is_running
from streams.settings import Settings
from streams.spec_files import parse_specs
from tables.views import app_status
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

DB, CACHE, WEB = "service-db", "service-cache", "application-web"
#: In the wrong order: who needs a service stands before it.
_PLATFORM = """\
[[app]]
name = "web"
command = ["python3", "-c", "from sdk.heartbeat import heart_beat; heart_beat()"]
needs_services = ["cache", "service-db"]

[[app]]
name = "cache"
kind = "service"
command = ["python3", "-c", "from sdk.heartbeat import heart_beat; heart_beat()"]
needs_services = ["db"]

[[app]]
name = "db"
kind = "service"
command = ["python3", "-c", "import time; time.sleep(1); from sdk.heartbeat import heart_beat; heart_beat()"]
"""
_JOBS = """\
[[app]]
name = "good"
command = ["python3", "-c", "print('done')"]
restart = "on-failure"

[[app]]
name = "once"
command = ["python3", "-c", "from sdk.heartbeat import heart_beat; heart_beat()"]
restart = "never"
"""


@pytest.fixture(scope="module")
def rig(create_rig: CreateRig) -> Iterator[Rig]:
    """A platform of two nodes; at the end of it all the view is the fold."""
    rig = create_rig("services")
    rig.start(workers=1, nodes=2, slots=8)
    yield rig
    assert rig.verify() == []


def _call(rig: Rig, *arguments: str) -> Result:
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return CliRunner().invoke(main, [*arguments[:at], *where, *arguments[at:]], prog_name="cli.py")


def _apply(rig: Rig, text: str) -> None:
    settings = Settings(bootstrap_servers=rig.bootstrap, prefix=rig.prefix)
    wanted = parse_specs(text, name="spec.toml")
    asyncio.run(apply_specs(settings, wanted, dry_run=False, timeout_s=60.0))


def _starts(rig: Rig, since: int) -> dict[str, int]:
    """App -> offset of its first start from an offset on."""
    found: dict[str, int] = {}
    for seen, event in rig.accepted(AppStarted, since):
        found.setdefault(event.app, seen.offset)
    return found


def _places(rig: Rig, since: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for seen, event in rig.accepted(AppPlaced, since):
        found.setdefault(event.app, seen.offset)
    return found


def test_services_start_before_those_that_need_them(rig: Rig) -> None:
    """In a file in the wrong order, each is placed when what it needs has beaten; a circle is refused whole."""
    _apply(rig, _PLATFORM)
    starts, places = _starts(rig, 0), _places(rig, 0)
    assert places[CACHE] > starts[DB]
    assert places[WEB] > starts[CACHE]

    end = rig.log.offset + 1
    _apply(rig, _PLATFORM)
    assert _places(rig, end) == {}
    result = _call(rig, "apps", "run", "db", "--service", "--needs-service", "cache", "--", "true")
    assert result.exit_code == 1
    assert "needs_services: service-db needs service-cache needs service-db: none of them" in result.stderr


def test_after_the_death_of_their_node_the_services_come_first(rig: Rig) -> None:
    """All that was on the node comes back, in the order of needs."""
    _apply(rig, _PLATFORM)
    node = rig.node_of(DB)
    rig.wait_running([DB, CACHE, WEB])
    lost = [app for app in (DB, CACHE, WEB) if rig.state().apps[app].node == node]
    since = rig.log.offset + 1
    os.killpg(rig.agent_pid(node), signal.SIGKILL)
    rig.wait(lambda _: set(lost) <= _starts(rig, since).keys(), what="all that was lost", within_s=60)
    rig.wait_running([DB, CACHE, WEB])
    starts, places = _starts(rig, since), _places(rig, since)
    if CACHE in lost:
        assert places[CACHE] > starts[DB]
    if WEB in lost:
        assert places[WEB] > starts[DB]


def test_what_is_waited_for_is_shown(rig: Rig) -> None:
    """An app whose service nobody knows is pending and says so; with the service it runs."""
    assert (
        _call(
            rig, "apps", "run", "late", "--needs-service", "soon", "--no-wait", "--", "sleep", "1"
        ).exit_code
        == 0
    )
    rig.wait(lambda state: state.apps["application-late"].pending_reason, what="what it waits for")
    shown = _call(rig, "apps", "show", "late").stdout
    assert re.search(r"why +waits for service-soon \(unknown\)", shown)
    assert re.search(r"services +service-soon", shown)
    assert _call(rig, "apps", "stop", "late").exit_code == 0


def test_jobs_finish_and_are_run_again_when_somebody_asks(rig: Rig) -> None:
    """An exit with 0 ends the one as finished, without a failure; applied again nothing happens."""
    _apply(rig, _JOBS)
    rig.wait(lambda state: state.apps["application-good"].phase == "finished", what="its end")
    row = rig.state().apps["application-good"]
    assert (app_status(rig.state(), row), row.exit_code, row.failures) == ("finished", 0, 0)
    _apply(rig, _JOBS)
    assert rig.state().apps["application-good"].generation == row.generation
    assert re.search(r"application-good +finished .* exit code 0", _call(rig, "apps", "list").stdout)

    assert _call(rig, "apps", "restart", "good").exit_code == 0
    rig.wait(lambda state: state.apps["application-good"].generation > row.generation, what="another run")
    rig.wait(lambda state: state.apps["application-good"].phase == "finished", what="its end")
    again = rig.state().apps["application-good"]
    assert (again.phase, again.failures) == ("finished", 0)


def test_what_runs_once_does_not_survive_its_node(rig: Rig) -> None:
    """It is finished by a decision, while its neighbours are brought back."""
    once = "application-once"
    _apply(rig, _PLATFORM)
    _apply(rig, _JOBS)
    assert _call(rig, "apps", "restart", once).exit_code == 0
    rig.wait_running([once])
    node, since = rig.node_of(once), rig.log.offset + 1
    os.killpg(rig.agent_pid(node), signal.SIGKILL)
    rig.wait(lambda state: state.apps[once].phase == "finished", what="its end", within_s=30)
    rig.wait_active(2, within_s=60)
    rig.wait_running([DB, CACHE, WEB], within_s=60)
    assert [(event.app, event.reason) for _, event in rig.accepted(AppFinished, since)] == [
        (once, "node-down")
    ]
    assert once not in _places(rig, since)


def test_a_paused_node_is_let_alone_and_dealt_with_at_the_end(rig: Rig) -> None:
    """Stopped for longer than the limit it is called silent and nothing follows; when it is resumed, at once."""
    _apply(rig, _PLATFORM)
    rig.wait_active(2, within_s=60)
    node = rig.node_of(WEB)
    result = _call(rig, "monitor", "pause", "--for", "10m", node)
    assert result.stdout.startswith(f"The watch over {node} is paused for 10 min, until ")
    assert node in _call(rig, "monitor", "status").stdout.partition("paused")[2].splitlines()[0]

    generation, since = rig.state().apps[WEB].generation, rig.log.offset + 1
    os.killpg(rig.agent_pid(node), signal.SIGSTOP)
    rig.wait(lambda state: state.nodes[node].silent, what="its silence", within_s=40)
    rig.wait_time(5.0)
    assert rig.accepted(NodeDeclaredDown, since) == []
    assert rig.state().apps[WEB].generation == generation

    assert _call(rig, "monitor", "resume", node).stdout == f"The watch over {node} goes on.\n"
    rig.wait(lambda state: state.nodes[node].status == "down", what="the verdict", within_s=5)
    rig.wait(lambda state: is_running(state, WEB), what="the app elsewhere", within_s=60)
    rig.wait_active(2, within_s=60)


def test_an_app_that_ends_under_a_pause_comes_back_when_its_time_is_over(rig: Rig) -> None:
    """Killed by hand, it stays down for the time of the pause; the timer brings it back."""
    _apply(rig, _PLATFORM)
    rig.wait_running([DB, CACHE, WEB], within_s=60)
    since = rig.log.offset + 1
    assert _call(rig, "monitor", "pause", "--for", "8s", WEB).exit_code == 0
    os.kill(rig.app_pid(WEB), signal.SIGKILL)
    rig.wait(lambda state: state.apps[WEB].phase == "ended", what="its end")
    assert rig.state().pauses.keys() == {WEB}
    rig.wait_running([WEB], within_s=30)
    assert rig.state().pauses == {}
    (placed,) = rig.accepted(AppPlaced, since)
    assert placed[1].app == WEB
    assert rig.accepted(AppDeclaredDown, since) == []
