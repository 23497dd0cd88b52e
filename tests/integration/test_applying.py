"""Scenario: a file of specs is applied, again, changed, and changed for the worse."""

from __future__ import annotations

import asyncio

import pytest

from streams.commands import CommandError
from streams.commands.applying import apply_specs
from streams.commands.scaling import fetch_log
from streams.local.rig import Rig, is_running
from streams.settings import Settings
from streams.spec_files import parse_specs
from tests.integration.checks import check_end
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

_FILE = """\
[[app]]
name = "pump"
count = 2
command = ["python3", "-c", "print('hello'); from sdk.heartbeat import heart_beat; heart_beat()"]
"""
_APPS = ["application-pump-1", "application-pump-2"]


def _apply(rig: Rig, text: str, *, within_s: float = 40.0) -> None:
    settings = Settings(bootstrap_servers=rig.bootstrap, prefix=rig.prefix)
    wanted = parse_specs(text, name="spec.toml")
    asyncio.run(apply_specs(settings, wanted, dry_run=False, timeout_s=within_s))


def test_a_file_is_applied_and_a_bad_change_stops_at_the_first_copy(create_rig: CreateRig) -> None:
    """Applied twice nothing happens; a change reaches each copy; one that never beats touches the first copy only."""
    rig = create_rig("applying")
    rig.start(workers=1, nodes=2)
    _apply(rig, _FILE)
    first = {app: rig.state().apps[app].generation for app in _APPS}
    node = rig.state().nodes[rig.state().apps[_APPS[0]].node]
    rig.wait(lambda _: fetch_log(node.ip, node.port, _APPS[0], 5) == b"hello\n", what="its log")
    end = rig.log.offset

    _apply(rig, _FILE)
    assert {app: rig.state().apps[app].generation for app in _APPS} == first

    _apply(rig, _FILE.replace("hello", "hallo"))
    second = {app: rig.state().apps[app].generation for app in _APPS}
    assert second[_APPS[0]] > first[_APPS[0]]
    assert second[_APPS[1]] > second[_APPS[0]]

    with pytest.raises(CommandError) as caught:
        _apply(rig, _FILE.replace("print('hello')", "raise SystemExit(1)"), within_s=5.0)

    assert caught.value.message.startswith("The rollout stopped at application-pump-1: ")
    assert caught.value.message.endswith(" Left as they were: application-pump-2.")
    assert rig.state().apps[_APPS[1]].generation == second[_APPS[1]]
    assert is_running(rig.state(), _APPS[1])
    check_end(rig, end, touched=_APPS)


def test_a_secret_reaches_the_app_and_no_topic(create_rig: CreateRig) -> None:
    """The app has the value of its secret and its file; the log has the name, and nobody has the value."""
    rig = create_rig("secrets")
    rig.start(workers=1, nodes=1)
    value = "open-sesame-4711"
    secret = rig.folder / "secrets" / "door-1"
    secret.parent.mkdir()
    secret.write_text(value)
    secret.chmod(0o600)
    show = "import os; print(len(os.environ['DOOR']), open('conf/door.ini').read())"

    _apply(
        rig,
        f"""\
[[app]]
name = "door"
command = ["python3", "-c", "{show}; from sdk.heartbeat import heart_beat; heart_beat()"]
secrets = {{ DOOR = "door-1" }}
files = {{ "conf/door.ini" = "side = front" }}
""",
    )

    node = rig.state().nodes[rig.node_of("application-door")]
    rig.wait(
        lambda _: fetch_log(node.ip, node.port, "application-door", 5) == b"16 side = front\n", what="its log"
    )
    assert rig.state().apps["application-door"].spec.secrets == {"DOOR": "door-1"}
    assert not [seen for seen in rig.events() if value in str(seen)]
    kept = [path for path in rig.folder.rglob("*") if path.is_file() and path != secret]
    assert not [path for path in kept if value.encode() in path.read_bytes()]
    assert rig.verify() == []
