"""Apps without any SDK, readiness, limits and commands beside them, on a real platform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents import cgroups, procfs
from agents.cgroups import find_cgroups
from cli import main
from sdk.contract.events import AppDeclaredDown, AppExited, AppStarted
from sdk.contract.requests import MoveApp, RunApp, StopApp
from sdk.contract.running import HttpCheck
from sdk.contract.specs import AppSpec
from streams.commands.node_usage import fetch_usage
from streams.local.rig import Rig, is_running
from tables.views import app_status
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

SLEEPER = "application-sleeper"
WEB = "application-web"
#: Answers as the file `STATE` says: `no` with 503, `hang` never, all else with 200.
SERVER = """\
import os, pathlib, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        said = pathlib.Path(os.environ["STATE"]).read_text()
        if said == "hang":
            time.sleep(3600)
        self.send_response(503 if said == "no" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["WATCHKEEP_PORT"])), Page).serve_forever()
"""


@pytest.fixture(scope="module")
def rig(create_rig: CreateRig) -> Iterator[Rig]:
    """A platform with two nodes, whose apps are stopped in the end, so that no control group stays."""
    rig = create_rig("watched")
    rig.start(workers=1, nodes=2)
    yield rig
    for app, row in rig.state().apps.items():
        if row.wanted:
            rig.ask(StopApp(app))
    rig.wait(lambda _: not rig.copies(), what="the end of all apps")


def test_a_program_without_the_sdk_is_watched_by_its_process(rig: Rig) -> None:
    """`sleep` knows nothing of us: it runs, outlives the silence limit, and comes back when it is killed."""
    rig.run_apps([AppSpec(SLEEPER, ["sleep", "600"], heartbeat="process")])
    first = rig.state().apps[SLEEPER]
    rig.wait_time(11.0, what="more than the silence limit")
    assert rig.state().apps[SLEEPER].generation == first.generation
    assert is_running(rig.state(), SLEEPER)

    rig.kill(rig.app_pid(SLEEPER))
    rig.wait(
        lambda state: state.apps[SLEEPER].generation > first.generation and is_running(state, SLEEPER),
        what="the next copy",
    )


def test_readiness_makes_moves_wait_and_a_page_that_hangs_is_a_silence(rig: Rig, tmp_path: Path) -> None:
    """No copy counts as started before its page answers; one whose page hangs is replaced."""
    said = tmp_path / "state"
    said.write_text("no")
    page = HttpCheck(path="/health", timeout_ms=500)
    spec = AppSpec(
        WEB, ["python3", "server.py"], {"STATE": str(said)}, files={"server.py": SERVER},
        heartbeat="http", http=page, readiness=page,
    )  # fmt: skip
    rig.ask(RunApp(spec))
    rig.wait(lambda _: any(copy.app == WEB for copy in rig.copies()), what="its process")
    pid = next(copy.pid for copy in rig.copies() if copy.app == WEB)
    port = int(procfs.environment_of(pid)["WATCHKEEP_PORT"])
    _wait_asked(rig, port)
    assert not [event for _, event in rig.accepted(AppStarted) if event.app == WEB]

    said.write_text("yes")
    rig.wait(lambda state: is_running(state, WEB), what="its start")
    first = rig.state().apps[WEB]

    said.write_text("no")
    rig.ask(MoveApp(WEB))
    rig.wait(lambda state: state.apps[WEB].standby is not None, what="a second copy")
    said.write_text("yes")
    rig.wait(lambda state: state.apps[WEB].generation > first.generation, what="the move", within_s=40)
    second = rig.state().apps[WEB]
    assert second.node != first.node

    said.write_text("hang")
    rig.wait(
        lambda _: [event for _, event in rig.accepted(AppDeclaredDown) if event.app == WEB],
        what="its silence",
        within_s=40,
    )
    said.write_text("yes")
    rig.wait(
        lambda state: state.apps[WEB].generation > second.generation and is_running(state, WEB),
        what="a copy that answers",
        within_s=40,
    )


def _wait_asked(rig: Rig, port: int) -> None:
    """Wait until the agent has been told `not yet` by that page."""
    logs = (rig.folder / "nodes").glob("*/agent.log")
    text = f":{port}/health: answered 503"
    paths = list(logs)
    rig.wait(lambda _: any(text in path.read_text() for path in paths), what="an answer of 503")


def test_who_takes_too_much_memory_is_killed_and_show_says_why(rig: Rig) -> None:
    """The reason is on the log and in `apps show`; the node says how it limits, and nothing of it stays."""
    if find_cgroups() is None:
        pytest.skip("this machine lets us make no control groups")
    hog = "application-hog"
    rig.change_policy(app_backoff_ms=30_000)
    grow = "kept = []\nwhile True: kept.append(bytearray(4 << 20))"
    rig.ask(RunApp(AppSpec(hog, ["python3", "-c", grow], heartbeat="process", memory_limit_mib=48)))
    ended = rig.wait(
        lambda _: [event for _, event in rig.accepted(AppExited) if event.app == hog], what="its end"
    )
    assert (ended[0].exit_code, ended[0].detail) == (
        -9,
        "killed: it used more memory than its limit of 48 MiB",
    )
    # The first copy comes back at once, the next one only after a pause in which there is something to show.
    rig.wait(
        lambda state: app_status(state, state.apps[hog]) == "backing-off",
        what="the pause after its second end",
    )
    shown = json.loads(_cli(rig, "apps", "show", hog, "-o", "json"))
    assert (shown["limits"], shown["detail"]) == ("48 MiB", ended[0].detail)
    rig.ask(StopApp(hog))
    row = rig.state().nodes[ended[0].node]
    assert row.limits == f"memory and processor by cgroup v{find_cgroups().version}"  # type: ignore[union-attr]
    usage = fetch_usage(row.ip, row.port)
    assert usage is not None
    assert usage["memory_mib"] > usage["memory_used_mib"] > 0
    words = _cli(rig, "nodes", "show", row.node)
    assert f"limits        {row.limits}" in words
    assert "drivers       process" in words
    assert "MiB in use" in words


def test_a_killed_node_leaves_no_control_group(rig: Rig) -> None:
    """Who destroys what a dead agent left removes its groups too."""
    groups = find_cgroups()
    if groups is None:
        pytest.skip("this machine lets us make no control groups")
    app = "application-bounded"
    rig.run_apps([AppSpec(app, ["sleep", "600"], heartbeat="process", memory_limit_mib=64)])
    node = rig.node_of(app)
    from agents.disk import home_of

    home = home_of(rig.folder / "nodes" / node)
    name = cgroups.group_name(home, app, rig.state().apps[app].generation)
    assert groups.group(name).memory.is_dir()
    rig.kill(rig.agent_pid(node))
    rig.wait(lambda state: state.apps[app].node != node and is_running(state, app), what="its next copy")
    rig.wait(lambda _: not groups.group(name).memory.exists(), what="the end of its group")
    rig.wait_active(2)


def test_exec_runs_beside_the_app(rig: Rig) -> None:
    """With its environment, in its directory, with our input; the exit code is the command's."""
    app = "application-files"
    rig.run_apps([AppSpec(app, ["sleep", "600"], {"MINE": "7"}, files={"a.ini": "x"}, heartbeat="process")])
    token = rig.folder / "exec-token"
    assert token.stat().st_mode & 0o777 == 0o600
    show = "import os, sys; print(os.environ['MINE'], os.listdir(), sys.stdin.read()); sys.exit(9)"
    where = ["--token-file", str(token), "--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    result = CliRunner().invoke(
        main, ["apps", "exec", app, *where, "--", "python3", "-c", show], input="hello"
    )
    assert (result.exit_code, result.stdout) == (9, "7 ['a.ini'] hello\n")
    wrong = rig.folder / "wrong"
    wrong.write_text("x")
    result = CliRunner().invoke(
        main, ["apps", "exec", app, "--token-file", str(wrong), *where[2:], "--", "true"]
    )
    assert result.exit_code == 1
    assert "the token is not this node's" in result.output


def _cli(rig: Rig, *words: str) -> str:
    """What a command prints."""
    where = ["--bootstrap-servers", rig.bootstrap, "--prefix", rig.prefix]
    result = CliRunner().invoke(main, [*words, *where])
    assert result.exit_code == 0, result.output
    return result.stdout
