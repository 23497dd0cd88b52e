"""Scenario 3: apps that die, hang, exit at once or never beat, on one platform, all at the same time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sdk.contract.events import AppDeclaredDown, AppExited, AppHeldBack, AppPlaced, AppStarted
from sdk.contract.specs import AppSpec
from streams.local.rig import Rig, is_running
from tests.integration.checks import check_end
from tests.integration.conftest import CreateRig

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

KILLED, HANGING, FROZEN = "application-killed", "application-hanging", "application-frozen"
HASTY, MUTE = "application-hasty", "application-mute"
GOOD = ["application-good-1", "application-good-2"]
TOUCHED = [KILLED, HANGING, FROZEN, HASTY, MUTE]

#: Beats once and then does something else for ever.
BEAT_ONCE = (
    "import time\nfrom sdk.heartbeat import HeartBeat\nHeartBeat(every_s=3600).start()\ntime.sleep(3600)"
)


@pytest.fixture(scope="module")
def rig(create_rig: CreateRig) -> Iterator[Rig]:
    """A platform with good apps and all kinds of bad ones; back-off and give-up are short."""
    rig = create_rig("apps")
    rig.start(nodes=3, slots=4, policy={"app_backoff_ms": 100, "app_give_up_after": 4})
    rig.run_apps([KILLED, FROZEN, *GOOD])
    rig.run_apps(
        [
            AppSpec(app=HANGING, command=["python3", "-c", BEAT_ONCE]),
            AppSpec(app=HASTY, command=["false"]),
            AppSpec(app=MUTE, command=["sleep", "3600"], start_within_ms=3_000),
        ],
        wait=False,
    )
    rig.stop(rig.app_pid(FROZEN))
    with rig.watch_copies() as copies:
        yield rig
    assert copies.doubles == []
    rig.stop_apps([HANGING, MUTE])
    check_end(rig, 0, touched=TOUCHED)


def test_killed_app_comes_back_on_another_node(rig: Rig) -> None:
    """An app whose process was killed runs on another node, in the next generation, with one failure."""
    before = rig.state().apps[KILLED]

    rig.kill(rig.app_pid(KILLED))

    rig.wait(
        lambda state: is_running(state, KILLED) and state.apps[KILLED].generation > before.generation,
        what="the killed app running again",
    )
    after = rig.state().apps[KILLED]
    assert after.node != before.node
    assert after.failures == before.failures + 1


@pytest.mark.parametrize("app", [HANGING, FROZEN])
def test_app_that_hangs_is_killed_and_comes_back_elsewhere(rig: Rig, app: str) -> None:
    """An app that beats no more is found by silence, killed, and runs on another node."""
    down = rig.wait(
        lambda _: [event for _, event in rig.accepted(AppDeclaredDown) if event.app == app],
        within_s=30,
        what=f"{app} declared down",
    )[0]

    rig.wait(lambda state: state.apps[app].generation > down.generation, what=f"{app} placed again")

    first, second = [event for _, event in rig.accepted(AppPlaced) if event.app == app][:2]
    assert (down.reason, down.generation) == ("silent", second.replaces)
    assert first.node != second.node
    assert not [copy for copy in rig.copies() if (copy.app, copy.generation) == (app, down.generation)]


def test_app_that_exits_at_once_is_held_back_and_then_given_up(rig: Rig) -> None:
    """Pauses between the copies grow, and after the allowed number of failures nothing is started any more."""
    rig.wait(lambda state: HASTY in state.apps and state.apps[HASTY].gave_up, what="the hasty app given up")

    assert len([event for _, event in rig.accepted(AppPlaced) if event.app == HASTY]) == 4
    assert len([event for _, event in rig.accepted(AppExited) if event.app == HASTY]) == 4
    waits = [event.wake_ms for _, event in rig.accepted(AppHeldBack) if event.app == HASTY]
    assert len(waits) == 2
    assert waits[1] > 1.5 * waits[0]


def test_app_that_never_beats_counts_as_failed(rig: Rig) -> None:
    """An app without a first beat in time is killed and tried on another node."""
    down = rig.wait(
        lambda _: [event for _, event in rig.accepted(AppDeclaredDown) if event.app == MUTE],
        what="the mute app declared down",
    )[0]

    rig.wait(lambda state: state.apps[MUTE].generation > down.generation, what="the mute app placed again")

    assert down.reason == "never-beat"
    assert rig.state().apps[MUTE].failures >= 1
    assert not [event for _, event in rig.accepted(AppStarted) if event.app == MUTE]
