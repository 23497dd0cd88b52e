"""Requests become events: each admission, and each refusal in words the asker can act upon."""

import pytest

from sdk.contract import events as e
from sdk.contract import requests as r
from sdk.contract.codec import Asked
from sdk.contract.specs import SPEC_BYTES_MAX, AppSpec
from tables.admit import admit
from tests.tables.virtual import POOL
from tests.tables.world import begin

APP = "application-0"
_LONG = "x" * (SPEC_BYTES_MAX + 1)


def _spec(app: str = APP, command: list[str] | None = None, **more: object) -> r.Request:
    return r.RunApp(AppSpec(app, ["run"] if command is None else command, **more))  # type: ignore[arg-type]


_REFUSED: list[tuple[r.Request, str]] = [
    (_spec("pump"), "app: 'pump' must begin with application- or service-"),
    (_spec("application-"), "application '' is not a name"),
    (_spec("service-a b"), "service 'a b' is not a name"),
    (_spec(command=[]), "command: needs a program"),
    (_spec(command=["a\0"]), "without NUL"),
    (_spec(env={"A=B": "1"}), "env: names must be non-empty"),
    (_spec(secrets={"A=B": "x"}), "secrets: variables must be non-empty and without ="),
    (_spec(secrets={"A": "../x"}), "secrets: secret '../x' is not a name"),
    (_spec(secrets={"A": "x"}, env={"A": "y"}), "secrets: 'A' is in env too"),
    (_spec(files={"../x": ""}), "files: '../x' is not a path inside the working directory"),
    (_spec(files={"/x": ""}), "files: '/x' is not a path inside the working directory"),
    (_spec(files={"a": "", "a/b": ""}), "files: 'a' is a file and a directory"),
    (_spec(files={"a": _LONG}), "spec: larger than"),
    (_spec(driver="podman"), "driver: 'podman' is unknown; allowed: process, docker"),
    (_spec(slots=0), "slots: 0 is out of range; allowed: 1 to 1000"),
    (_spec(start_within_ms=1), "start_within_ms: 1 is out of range; allowed: 1000 to"),
    (_spec(stop_grace_ms=-1), "stop_grace_ms: -1 is out of range"),
    (_spec(command=[_LONG]), "spec: larger than"),
    (r.StopApp("application-x"), "no app 'application-x'"),
    (r.RestartApp("application-x"), "no app 'application-x'"),
    (r.CreateNode("pool-x"), "no pool 'pool-x'"),
    (r.CreateNode(POOL, 0), "count: 0 is out of range; pool-home has room for 97 more"),
    (r.CreateNode(POOL, 98), "count: 98 is out of range"),
    (r.ShutdownNode("node-x_1"), "no node 'node-x_1'"),
    (r.ConfirmNodeDown("node-x_1"), "no node 'node-x_1'"),
    (r.ConfirmNodeDown("node-10.0.0.1_8101"), "is not silent: only a silent node can be confirmed down"),
    (r.ConfigurePool("a b", 3), "pool 'a b' is not a name"),
    (r.ConfigurePool("home", -1), "nodes: -1 is out of range; allowed: 0 to 60000"),
    (r.ConfigurePool("home", 1, 0), "slots: 0 is out of range; allowed: 1 to 10000"),
    (r.ChangePolicy({"silence_limit": 1}), "silence_limit"),
    (r.ChangePolicy({"strategy": "best"}), "strategy: 'best' is unknown; allowed: spread, binpack"),
    (r.ChangePolicy({"overdue_ms": 10_000}), "overdue_ms: 10000 must be below silence_limit_ms"),
    (r.ChangePolicy({"silence_limit_ms": "ten"}), "silence_limit_ms"),
    (r.ChangePolicy({"brake_hold_ms": -1}), "policy.brake_hold_ms: -1 is out of range; allowed: 0 to"),
]


@pytest.mark.parametrize(("request_", "reason"), _REFUSED)
def test_refusal_says_why(request_: r.Request, reason: str) -> None:
    """A request that cannot be carried out is refused with the field, the value and what is allowed."""
    world = begin(1)
    event = admit(world.state, Asked("r", request_))
    assert isinstance(event, e.RequestRefused)
    assert reason in event.reason


def test_node_that_is_down_cannot_be_shut_down() -> None:
    """Only an active node can be shut down, and the refusal says what it is instead."""
    world = begin(1)
    node = world.active()[0].node
    world.agent(node).status = "exited"
    world.run(2_000, lambda: world.ready(3) and world.state.nodes[node].status == "down")
    event = world.ask(r.ShutdownNode(node))
    assert isinstance(event, e.RequestRefused)
    assert event.reason == f"{node} is down; only an active node can be shut down"


@pytest.mark.parametrize(
    ("request_", "event"),
    [
        (r.RunApp(AppSpec(APP, ["x"])), e.AppSubmitted("r", AppSpec(APP, ["x"]))),
        (r.StopApp(APP), e.AppStopRequested("r", APP)),
        (r.RestartApp(APP), e.AppRestartRequested("r", APP)),
        (r.CreateNode(POOL, 97), e.NodesRequested("r", POOL, 97)),
        (r.ShutdownNode("node-10.0.0.1_8101"), e.NodeShutdownRequested("r", "node-10.0.0.1_8101")),
        (r.ReleaseBrake(), e.BrakeReleaseRequested("r")),
        (r.ConfigurePool("away", 2, 8), e.PoolConfigured("r", "pool-away", 2, 8)),
        (r.ConfigurePool("pool-away", 2), e.PoolConfigured("r", "pool-away", 2, 4)),
    ],
)
def test_admission_is_folded(request_: r.Request, event: e.Event) -> None:
    """A request that can be carried out becomes its event, and the fold takes it."""
    world = begin(1)
    admitted = admit(world.state, Asked("r", request_))
    assert admitted == event
    assert world.append(admitted)


def test_policy_keeps_the_keys_that_were_not_named() -> None:
    """A change of policy carries the whole policy, with the other keys as they were."""
    world = begin(1)
    world.ask(r.ChangePolicy({"strategy": "binpack"}))
    world.ask(r.ChangePolicy({"brake_hold_ms": 1}))
    assert (world.state.policy.strategy, world.state.policy.brake_hold_ms) == ("binpack", 1)


def test_two_admissions_of_one_request_count_once() -> None:
    """Of two workers that admit one request the fold keeps the first."""
    world = begin(1)
    admitted = admit(world.state, Asked("r", r.CreateNode(POOL, 1)))
    outcomes = [world.append(admitted), world.append(admitted)]
    assert outcomes == [True, False]
    assert world.state.pools[POOL].nodes == 4
