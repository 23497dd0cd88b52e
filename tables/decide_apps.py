"""Decisions about apps and services. Pure; part of `tables.decide`."""

from typing import Literal

from sdk.contract.events import (
    AppDeclaredDown,
    AppFinished,
    AppGaveUp,
    AppHeldBack,
    AppLeftPending,
    AppPlaced,
)
from sdk.contract.ids import derive_fraction
from tables.decide_moves import decide_move
from tables.decide_nodes import replacing_order
from tables.needs import urgency
from tables.pauses import is_app_paused
from tables.placement import Refusal, choose_node
from tables.plan import Plan
from tables.questions import may_replace
from tables.room import NOTHING, need_of, runs_once
from tables.rows import AppRow
from tables.state import is_hosted, waiting_words

Reason = Literal["new", "failure", "node-down", "restart", "moved"]

#: Spread of a back-off, so that apps that failed together do not come back together.
_JITTER = 0.1


def decide_apps(plan: Plan, wanted: list[AppRow], stranded: list[AppRow]) -> None:
    """Condemn copies that hang, judge failures, and place what ought to run and does not."""
    moving = {row.app for row in stranded}
    for row in sorted(wanted, key=lambda row: turn_of(plan, row, moves=row.app in moving)):
        if plan.is_full:
            return
        if row.app in moving:
            _move(plan, row)
        else:
            _decide_app(plan, row)


def turn_of(plan: Plan, row: AppRow, *, moves: bool) -> tuple[int, bool, bool, int, str]:
    """When it is an app's turn: room goes by priority, a service's being the highest of those that need it.

    Among equals it goes first to what others need, then to what a dead node has lost (`moves`), then to who has waited
    longest.
    """
    priority, needed = urgency(plan.state, row)
    return -priority, not needed, not moves, row.submitted_at_ms, row.app


def wanted_apps(plan: Plan) -> list[AppRow]:
    """Apps that a decision may be due about, and that ought to run."""
    rows = (plan.state.apps[app] for app in plan.state.open_apps)
    return [row for row in rows if row.wanted and not row.gave_up]


def stranded_apps(plan: Plan, wanted: list[AppRow]) -> list[AppRow]:
    """Those whose copy sat on a node that is dead."""
    return [row for row in wanted if _is_stranded(plan, row)]


def _is_stranded(plan: Plan, row: AppRow) -> bool:
    """Whether the copy sat on a node that is dead."""
    return row.phase in ("placed", "running", "condemned") and (
        not is_hosted(plan.state, row) or row.node in plan.leaving
    )


def reserve_room(plan: Plan, moving: list[AppRow]) -> None:
    """Keep room on each replacement, ordered or not, for the apps of the node that it replaces."""
    for row in moving:
        if is_over(row):
            continue
        target = successor_of(plan, row)
        if target:
            plan.reserve(target, need_of(row.spec))
            continue
        order = replacing_order(plan.state, row.node, row.lineage)
        coming = (row.node, row.lineage) if order is None else order
        plan.promised[coming] = plan.promised.get(coming, NOTHING).plus(need_of(row.spec))


def successor_of(plan: Plan, row: AppRow) -> str | None:
    """The living node that replaces the app's dead one, "" while it is being created, None if there is none."""
    order = replacing_order(plan.state, row.node, row.lineage)
    if order is None:
        return "" if (row.node, row.lineage) in plan.replacing else None
    return plan.state.node_of_order.get(order, "")


def has_its_turn(plan: Plan, row: AppRow) -> bool:
    """Whether what a dead node has lost may be decided about now; until then the room that is kept for it is kept."""
    return (
        row.node not in plan.leaving and may_replace(plan.state, row) and not is_app_paused(plan.state, row)
    )


def _move(plan: Plan, row: AppRow) -> None:
    """Bring an app of a dead node to the node that replaces it, or by load where none does."""
    if not has_its_turn(plan, row):
        return
    if is_over(row):
        _finish(plan, row, "node-down")
        return
    successor = successor_of(plan, row)
    if successor == "" or _waits(plan, row):
        return
    if successor is not None:
        plan.release(successor, need_of(row.spec))
        if _place(plan, row, "node-down", only=successor):
            return
        if plan.witness.confirm_heard(successor) is None:
            return
    _place(plan, row, "node-down")


def _decide_app(plan: Plan, row: AppRow) -> None:
    paused = is_app_paused(plan.state, row)
    if row.phase == "running" and row.silent:
        if not paused:
            _condemn(plan, row, "silent")
    elif row.phase == "running":
        decide_move(plan, row)
    elif row.phase == "placed" and row.wake is not None and row.wake.fired:
        if not paused and plan.witness.has_beaten(row.app, row.generation) is False:
            _condemn(plan, row, "never-beat")
    elif row.phase == "pending":
        _place(plan, row, "new")
    elif row.phase in ("ended", "condemned") and may_replace(plan.state, row):
        _judge_end(plan, row, paused=paused)


def _judge_end(plan: Plan, row: AppRow, *, paused: bool) -> None:
    """A copy has ended: what somebody asked for is done at once, what the platform concludes waits for a pause."""
    if row.phase == "ended" and row.end_reason in ("restart", "moved"):
        _place(plan, row, "restart" if row.end_reason == "restart" else "moved")
    elif paused:
        return
    elif row.phase == "condemned" and is_over(row):
        _finish(plan, row, "silent" if row.end_reason == "silent" else "never-beat")
    else:
        _judge(plan, row)


def is_over(row: AppRow) -> bool:
    """Whether the loss of the copy in force ends the app, because it runs once and nobody asked for another run."""
    return runs_once(row) and not row.restarting


def _finish(plan: Plan, row: AppRow, reason: Literal["node-down", "silent", "never-beat"]) -> None:
    """The only copy of an app that runs once is gone without having ended by itself."""
    plan.add(AppFinished(**plan.basis, app=row.app, generation=row.generation, reason=reason))


def _condemn(plan: Plan, row: AppRow, reason: Literal["silent", "never-beat"]) -> None:
    fence = plan.witness.confirm_silence(row.app, row.generation) if reason == "silent" else None
    if reason == "silent" and fence is None:
        return
    plan.add(
        AppDeclaredDown(
            **plan.basis,
            app=row.app,
            generation=row.generation,
            reason=reason,
            fence=fence,
            wake_ms=max(1, plan.state.policy.kill_within_ms),
        )
    )


def _judge(plan: Plan, row: AppRow) -> None:
    """A copy has failed: place the next at once, later, or not any more."""
    policy = plan.state.policy
    if row.phase == "ended" and row.wake is not None:
        _place(plan, row, "failure")
    elif len(row.recent_failures) >= policy.app_give_up_after:
        plan.add(
            AppGaveUp(**plan.basis, app=row.app, generation=row.generation, failures=len(row.recent_failures))
        )
    elif row.strikes > 1:
        plan.add(
            AppHeldBack(
                **plan.basis,
                app=row.app,
                generation=row.generation,
                strikes=row.strikes,
                wake_ms=backoff_ms(plan, row),
            )
        )
    else:
        _place(plan, row, "failure")


def backoff_ms(plan: Plan, row: AppRow) -> int:
    """Pause before the next copy: the first is at once, then doubling to the largest, jitter from the generation."""
    policy = plan.state.policy
    base = min(policy.app_backoff_ms << min(row.strikes - 2, 40), policy.app_backoff_max_ms)
    jitter = 1 + _JITTER * (2 * derive_fraction(row.app, row.generation) - 1)
    return max(1, round(base * jitter))


def _waits(plan: Plan, row: AppRow) -> bool:
    """Whether services that the app needs do not run; says so once."""
    waiting = waiting_words(plan.state, row, leaving=plan.leaving)
    if waiting:
        _leave_pending(plan, row, Refusal(waiting, {}))
    return bool(waiting)


def _leave_pending(plan: Plan, row: AppRow, refusal: Refusal) -> None:
    if row.pending_reason != refusal.reason:
        plan.add(AppLeftPending(**plan.basis, app=row.app, reason=refusal.reason, fell_out=refusal.fell_out))


def _place(plan: Plan, row: AppRow, reason: Reason, *, only: str = "") -> bool:
    if _waits(plan, row):
        return False
    choice = choose_node(plan, row, only=only or _granted_node(plan, row))
    if isinstance(choice, Refusal) and not only:
        choice = choose_node(plan, row)
    if isinstance(choice, Refusal):
        if not only and not plan.candidates.has_unknown:
            _leave_pending(plan, row, choice)
        return False
    plan.place(row, choice.node)
    plan.add(
        AppPlaced(
            **plan.basis,
            app=row.app,
            node=choice.node,
            registration=plan.state.nodes[choice.node].registration,
            replaces=row.generation,
            reason=reason,
            ranking=choice.ranking,
            fell_out=choice.fell_out,
            fence=choice.fence,
            wake_ms=row.spec.start_within_ms,
        )
    )
    return True


def _granted_node(plan: Plan, row: AppRow) -> str:
    """The node that keeps room for the app, empty if none does."""
    grant = plan.state.grants.get(str(row.grant))
    return grant.node if grant is not None and plan.kept_for(row, grant.node).slots else ""
