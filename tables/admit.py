"""Requests become events: admitted, or refused with a reason the asker can act upon. Pure."""

from collections.abc import Callable
from typing import Any

import msgspec

from sdk.contract.codec import Asked
from sdk.contract.events import (
    AppMoveRequested,
    AppRestartRequested,
    AppStopRequested,
    AppSubmitted,
    BrakeReleaseRequested,
    Event,
    NodeCordoned,
    NodeDownConfirmed,
    NodeDrainRequested,
    NodeRequested,
    NodeShutdownRequested,
    NodesRequested,
    NodeUncordoned,
    PolicyChanged,
    PoolConfigured,
    RequestRefused,
    SourceExpected,
    SourceForgotten,
    WatchPaused,
    WatchResumed,
)
from sdk.contract.ids import check_name, pool_id
from sdk.contract.policy import policy_from
from sdk.contract.requests import (
    AcknowledgeNotification,
    BindDevice,
    ChangePolicy,
    ClearNotification,
    ConfigurePool,
    ConfirmNodeDown,
    CordonNode,
    CreateNode,
    DrainNode,
    EnableDevice,
    ExpectSource,
    ForgetSource,
    LimitSensors,
    MoveApp,
    PauseWatch,
    RegisterDevice,
    ReleaseBrake,
    Request,
    RequestNode,
    RestartApp,
    ResumeWatch,
    RetireDevice,
    RunApp,
    SetController,
    ShutdownNode,
    StopApp,
    UnbindDevice,
    UncordonNode,
)
from sdk.contract.specs import CPU_PERCENT_MAX, MEMORY_MIB_MAX, check_spec
from tables.admit_commands import set_controller
from tables.admit_devices import (
    bind_device,
    enable_device,
    limit_sensors,
    register_device,
    retire_device,
    unbind_device,
)
from tables.admit_notifications import acknowledge, clear
from tables.fold_control import POOL_NODES_MAX, SLOTS_MAX, bounds_fault, shutdown_fault
from tables.fold_sources import expectation_fault, is_forgettable
from tables.needs import need_fault
from tables.pauses import PLATFORM, check_pause
from tables.pools import nodes_max
from tables.refusal import RefusalError
from tables.room import runs_once
from tables.state import State


def admit(state: State, asked: Asked) -> Event:
    """The event that answers a request: its admission, or a refusal."""
    try:
        return _ADMITTERS[type(asked.request)](state, asked.id, asked.request)
    except ValueError as error:
        return RequestRefused(asked.id, str(error)[:500])


def _run_app(state: State, request: str, wish: RunApp) -> Event:
    check_spec(wish.spec)
    kind, _, name = wish.spec.app.partition("-")
    check_name(name, what=kind)
    if fault := need_fault(state, wish.spec):
        raise RefusalError(fault)
    if wish.grant:
        grant = state.grants.get(str(wish.grant))
        if grant is None or not grant.node:
            raise RefusalError(f"grant: {wish.grant} is not in force; it was used, or its time is over")
    return AppSubmitted(request, wish.spec, wish.grant)


def _stop_app(state: State, request: str, wish: StopApp) -> Event:
    _check_known(wish.app, state.apps, "app")
    return AppStopRequested(request, wish.app)


def _restart_app(state: State, request: str, wish: RestartApp) -> Event:
    _check_known(wish.app, state.apps, "app")
    return AppRestartRequested(request, wish.app)


def _move_app(state: State, request: str, wish: MoveApp) -> Event:
    _check_known(wish.app, state.apps, "app")
    row = state.apps[wish.app]
    if row.phase != "running" or not row.wanted:
        raise RefusalError(f"{wish.app} does not run: only a running app can be moved")
    if runs_once(row):
        raise RefusalError(f"{wish.app} runs once (restart = never): a second copy of it is never started")
    if wish.node:
        _check_known(wish.node, state.nodes, "node")
        if wish.node == row.node:
            raise RefusalError(f"{wish.app} is on {wish.node} already")
        if state.nodes[wish.node].status != "active":
            raise RefusalError(
                f"{wish.node} is {state.nodes[wish.node].status}; only an active node takes apps"
            )
        if state.nodes[wish.node].spare:
            raise RefusalError(f"{wish.node} is a spare of its pool and takes no apps until it is taken")
    return AppMoveRequested(request, wish.app, wish.node)


def _drain_node(state: State, request: str, wish: DrainNode) -> Event:
    _check_known(wish.node, state.nodes, "node")
    if state.nodes[wish.node].status != "active":
        raise RefusalError(
            f"{wish.node} is {state.nodes[wish.node].status}; only an active node can be drained"
        )
    return NodeDrainRequested(request, wish.node, wish.force)


def _create_node(state: State, request: str, wish: CreateNode) -> Event:
    _check_known(wish.pool, state.pools, "pool")
    room = nodes_max(state, state.pools[wish.pool]) - state.pools[wish.pool].nodes
    if not 1 <= wish.count <= room:
        raise RefusalError(
            f"count: {wish.count} is out of range; {wish.pool} has room for {max(0, room)} more"
        )
    return NodesRequested(request, wish.pool, wish.count)


def _request_node(state: State, request: str, wish: RequestNode) -> Event:
    pool = wish.pool or (next(iter(state.pools)) if len(state.pools) == 1 else "")
    if not state.pools:
        raise RefusalError("pool: there is none yet")
    if pool:
        _check_known(pool, state.pools, "pool")
    slots_max = max(row.slots for row in state.pools.values() if pool in ("", row.pool))
    if not 1 <= wish.slots <= slots_max:
        where = pool or "any pool"
        raise RefusalError(f"slots: {wish.slots} is out of range; a node of {where} has 1 to {slots_max}")
    needs = (
        ("cpu_percent", wish.cpu_percent, CPU_PERCENT_MAX),
        ("memory_mib", wish.memory_mib, MEMORY_MIB_MAX),
    )
    for name, value, most in needs:
        if not 0 <= value <= most:
            raise RefusalError(f"{name}: {value} is out of range; allowed: 0 to {most}")
    return NodeRequested(request, pool, wish.slots, wish.new, wish.cpu_percent, wish.memory_mib)


def _shutdown_node(state: State, request: str, wish: ShutdownNode) -> Event:
    _check_known(wish.node, state.nodes, "node")
    if state.nodes[wish.node].status != "active":
        raise RefusalError(
            f"{wish.node} is {state.nodes[wish.node].status}; only an active node can be shut down"
        )
    if fault := shutdown_fault(state, state.nodes[wish.node]):
        raise RefusalError(fault)
    return NodeShutdownRequested(request, wish.node)


def _cordon_node(state: State, request: str, wish: CordonNode) -> Event:
    _check_known(wish.node, state.nodes, "node")
    return NodeCordoned(request, wish.node)


def _uncordon_node(state: State, request: str, wish: UncordonNode) -> Event:
    _check_known(wish.node, state.nodes, "node")
    return NodeUncordoned(request, wish.node)


def _confirm_down(state: State, request: str, wish: ConfirmNodeDown) -> Event:
    _check_known(wish.node, state.nodes, "node")
    row = state.nodes[wish.node]
    if row.status != "active" or not row.silent:
        raise RefusalError(f"{wish.node} is not silent: only a silent node can be confirmed down")
    return NodeDownConfirmed(request, wish.node)


def _expect_source(state: State, request: str, wish: ExpectSource) -> Event:
    kind, _, name = wish.source.partition("-")
    if kind != "service":
        raise RefusalError(f"source: {wish.source!r:.80} must begin with service-")
    topic = wish.topic or name
    check_name(name, what=kind)
    if fault := expectation_fault(state, wish.source, topic):
        raise RefusalError(fault)
    return SourceExpected(request, wish.source, topic)


def _forget_source(state: State, request: str, wish: ForgetSource) -> Event:
    _check_known(wish.source, state.sources, "lone source")
    if not is_forgettable(state.sources[wish.source]):
        raise RefusalError(f"{wish.source} is alive: only a silent source can be forgotten")
    return SourceForgotten(request, wish.source)


def _release_brake(_state: State, request: str, _wish: ReleaseBrake) -> Event:
    return BrakeReleaseRequested(request)


def _pause_watch(state: State, request: str, wish: PauseWatch) -> Event:
    subject = wish.subject or PLATFORM
    check_pause(state, subject, wish.for_ms)
    return WatchPaused(request, subject, wish.for_ms)


def _resume_watch(state: State, request: str, wish: ResumeWatch) -> Event:
    subject = wish.subject or PLATFORM
    if subject not in state.pauses:
        raise RefusalError(f"the watch over {subject:.80} is not paused")
    return WatchResumed(request, subject)


def _configure_pool(_state: State, request: str, wish: ConfigurePool) -> Event:
    pool = pool_id(wish.pool.removeprefix("pool-"))
    if not 0 <= wish.nodes <= POOL_NODES_MAX:
        raise RefusalError(f"nodes: {wish.nodes} is out of range; allowed: 0 to {POOL_NODES_MAX}")
    if not 1 <= wish.slots <= SLOTS_MAX:
        raise RefusalError(f"slots: {wish.slots} is out of range; allowed: 1 to {SLOTS_MAX}")
    configured = PoolConfigured(
        request,
        pool,
        wish.nodes,
        wish.slots,
        wish.nodes_min,
        wish.nodes_max,
        wish.spares,
        wish.register_within_ms,
    )
    if fault := bounds_fault(configured):
        raise RefusalError(fault)
    return configured


def _change_policy(state: State, request: str, wish: ChangePolicy) -> Event:
    values = {**msgspec.structs.asdict(state.policy), **wish.values}
    return PolicyChanged(request, policy_from(values))


def _check_known(name: str, rows: dict[str, Any], what: str) -> None:
    if name not in rows:
        raise RefusalError(f"no {what} {name!r:.80}")


_ADMITTERS: dict[type[Request], Callable[[State, str, Any], Event]] = {
    RunApp: _run_app,
    StopApp: _stop_app,
    RestartApp: _restart_app,
    MoveApp: _move_app,
    CreateNode: _create_node,
    RequestNode: _request_node,
    ShutdownNode: _shutdown_node,
    CordonNode: _cordon_node,
    UncordonNode: _uncordon_node,
    DrainNode: _drain_node,
    ConfirmNodeDown: _confirm_down,
    ExpectSource: _expect_source,
    ForgetSource: _forget_source,
    ReleaseBrake: _release_brake,
    PauseWatch: _pause_watch,
    ResumeWatch: _resume_watch,
    ConfigurePool: _configure_pool,
    ChangePolicy: _change_policy,
    RegisterDevice: register_device,
    RetireDevice: retire_device,
    EnableDevice: enable_device,
    LimitSensors: limit_sensors,
    BindDevice: bind_device,
    UnbindDevice: unbind_device,
    AcknowledgeNotification: acknowledge,
    ClearNotification: clear,
    SetController: set_controller,
}
