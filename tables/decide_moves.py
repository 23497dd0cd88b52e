"""Decisions about apps that are to move: make another copy ready, or give one up. Pure; part of `tables.decide`."""

from typing import Literal

from sdk.contract.events import AppLeftPending, AppPrepared, AppStandbyDropped
from tables.placement import Refusal, choose_node
from tables.plan import Plan
from tables.questions import has_standby_on
from tables.rows import AppRow
from tables.state import State, wants_away


def decide_move(plan: Plan, row: AppRow) -> None:
    """What is due about an app whose copy in force runs undisturbed."""
    if row.standby is not None:
        reason = _standby_fault(plan, row)
        if reason:
            plan.add(
                AppStandbyDropped(**plan.basis, app=row.app, generation=row.standby.generation, reason=reason)
            )
    elif wants_away(plan.state, row) and not row.standby_failed and _is_next(plan, row):
        _prepare(plan, row)


def _standby_fault(plan: Plan, row: AppRow) -> Literal["never-beat", "node-down", "not-needed", ""]:
    standby = row.standby
    assert standby is not None
    node = plan.state.nodes[standby.node]
    lives = node.status == "active" and has_standby_on(row, node) and node.node not in plan.leaving
    if not lives or node.draining:
        return "node-down"
    if not row.silent and not wants_away(plan.state, row):
        return "not-needed"
    late = row.wake is not None and row.wake.fired
    return "never-beat" if late and plan.witness.has_beaten(row.app, standby.generation) is False else ""


def _is_next(plan: Plan, row: AppRow) -> bool:
    """Whether it is this app's turn: the apps of a node that is to be empty leave it one by one."""
    return row.moving or not (row.node in plan.preparing or _is_one_moving(plan.state, row.node))


def _is_one_moving(state: State, node: str) -> bool:
    apps = (state.apps[app] for app in state.apps_of_node.get(node, ()))
    return any(app.node == node and app.standby is not None for app in apps)


def _prepare(plan: Plan, row: AppRow) -> None:
    choice = choose_node(plan, row, only=row.move_to, away=True)
    if isinstance(choice, Refusal):
        if row.pending_reason != choice.reason:
            plan.add(
                AppLeftPending(**plan.basis, app=row.app, reason=choice.reason, fell_out=choice.fell_out)
            )
        return
    plan.take(choice.node, row.spec)
    plan.preparing.add(row.node)
    plan.add(
        AppPrepared(
            **plan.basis,
            app=row.app,
            node=choice.node,
            registration=plan.state.nodes[choice.node].registration,
            beside=row.generation,
            ranking=choice.ranking,
            fell_out=choice.fell_out,
            fence=choice.fence,
            wake_ms=row.spec.start_within_ms,
        )
    )
