"""Why an app went where it went, derived again from the log: the nodes as they stood then, one by one. Pure.

What is given: the state at the placement's `based_on`, the decisions of the same call that come before it on the log,
and the placement. What the log cannot say: which nodes the witness had not heard (the placement counts them), and the
load of nodes that the placement does not name.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sdk.contract.events import (
    AppPlaced,
    AppPrepared,
    Band,
    Decision,
    NodeDeclaredDown,
    NodeGranted,
    NodeLeft,
    NodeQuarantined,
    NodeScore,
    Position,
)
from tables.candidates import standing_fault, wish_fault
from tables.decide_apps import (
    has_its_turn,
    is_over,
    reserve_room,
    stranded_apps,
    successor_of,
    turn_of,
    wanted_apps,
)
from tables.placement import Search
from tables.plan import Plan
from tables.room import Need, need_of
from tables.rows import AppRow
from tables.score import rank_of
from tables.state import State, waiting_words
from tables.witness import Load

#: What puts a copy on a node: in the place of another, or beside one that runs.
Placement = AppPlaced | AppPrepared


class Judged(NamedTuple):
    """One node as it stood when the app was placed."""

    node: str
    #: What was free on it for this app.
    free: Need
    #: The words under which it fell out; none if it could take the app.
    fell_out: list[str]
    #: None if it fell out before its score mattered.
    score: NodeScore | None


class Hindsight:
    """A witness that says what the placement says, and has heard every node."""

    def __init__(self, placed: Placement) -> None:
        self._loads = {
            score.node: Load(score.cpu_permille, score.memory_permille, score.measured)
            for score in placed.ranking
            if score.measured is not None
        }

    def confirm_silence(self, source: str, epoch: int) -> Position | None:  # noqa: ARG002  # as the protocol has it
        """Not asked here."""
        return None

    def confirm_heard(self, node: str) -> Position | None:  # noqa: ARG002  # the same
        """The log does not say who was not."""
        return Position(0, 0)

    def knows(self, node: str) -> bool:  # noqa: ARG002  # the same
        """What the log does not say is taken for heard."""
        return True

    def measured_load(self, node: str) -> Load | None:
        """What the placement cites."""
        return self._loads.get(node)

    def has_beaten(self, app: str, generation: int) -> bool | None:  # noqa: ARG002  # the same
        """Not asked here."""
        return None

    def has_hello(self, order: int) -> bool | None:  # noqa: ARG002  # the same
        """Not asked here."""
        return None

    def overdue_band(self) -> Band | None:
        """Not asked here."""
        return None


def judge_nodes(state: State, before: Iterable[Decision], placed: Placement) -> list[Judged]:
    """Every active node as the planner saw it: first those that could take the app, the best first."""
    plan = Plan(state, Hindsight(placed))
    app = state.apps[placed.app]
    _catch_up(plan, before, app)
    need = need_of(app.spec)
    search = Search(plan, app, plan.candidates.field_for(app.spec))
    judged = []
    for node, row in state.nodes.items():
        if row.status != "active":
            continue
        free = plan.free(node)
        word = standing_fault(plan, row) or wish_fault(row, app.spec.driver, app.spec.constraints)
        lacking = [
            name
            for name, wanted, left in zip(("slots", "cpu", "memory"), need, free, strict=True)
            if wanted > left
        ]
        fits = not word and not lacking
        judged.append(Judged(node, free, [word] if word else lacking, search.score(node) if fits else None))
    return sorted(judged, key=_order)


def _order(judged: Judged) -> tuple[bool, tuple[int, int, int, int, str]]:
    if judged.score is None:
        return True, (0, 0, 0, 0, judged.node)
    return False, rank_of(judged.score)


def _catch_up(plan: Plan, before: Iterable[Decision], app: AppRow) -> None:
    """Take into account what the same call had decided by the time that it was the app's turn."""
    decisions = list(before)
    for decision in decisions:
        plan.add(decision)
        if isinstance(decision, NodeDeclaredDown | NodeLeft):
            plan.leaving.add(decision.node)
        elif isinstance(decision, NodeQuarantined):
            plan.quarantining.add(decision.node)
    moving = stranded_apps(plan, wanted_apps(plan))
    reserve_room(plan, moving)
    kept = {row.app: successor_of(plan, row) for row in moving if not is_over(row)}
    for decision in decisions:
        if isinstance(decision, NodeGranted):
            plan.give(decision.node, Need(decision.slots, decision.cpu_percent, decision.memory_mib))
        elif isinstance(decision, Placement) and decision.app in plan.state.apps:
            _put(plan, decision, kept)
    turn = turn_of(plan, app, moves=app in moving)
    for row in moving:
        # What had its turn and found no node, be it that the replacement cannot take it, has no room kept any more.
        if (
            turn_of(plan, row, moves=True) < turn
            and _has_found_none(plan, row)
            and (node := kept.get(row.app))
        ):
            plan.release(node, need_of(row.spec))


def _put(plan: Plan, placed: Placement, kept: dict[str, str | None]) -> None:
    row = plan.state.apps[placed.app]
    if isinstance(placed, AppPrepared):
        plan.take(placed.node, row.spec)
        return
    if node := kept.pop(row.app, None):
        plan.release(node, need_of(row.spec))
    plan.place(row, placed.node)


def _has_found_none(plan: Plan, row: AppRow) -> bool:
    return has_its_turn(plan, row) and not waiting_words(plan.state, row, leaving=plan.leaving)


def differences(judged: Iterable[Judged], placed: Placement) -> list[str]:
    """Sentences on where the placement's own scores differ from those derived again; none if they are the same."""
    derived = {each.node: each.score for each in judged}
    found = []
    for score in placed.ranking:
        again = derived.get(score.node)
        if again is None:
            found.append(f"{score.node} could not have taken it")
        elif again != score:
            found.append(
                f"{score.node}: recorded {_numbers(score)}, derived {_numbers(again)}",
            )
    return found


def _numbers(score: NodeScore) -> str:
    return "/".join(map(str, rank_of(score)[:-1]))
