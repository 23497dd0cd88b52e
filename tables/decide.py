"""The planner: state and the witness's answers in, decisions out. Pure.

Rules:
1. Level-triggered: decisions follow from the state alone, never from the event that led to it. Folding them and
   deciding again gives nothing new.
2. One call takes account of its own decisions, so that a batch fits together; the shell appends the batch, reads
   all of it back, and only then decides again.
3. Nothing is concluded from silence without the witness (the fence), and what the witness cannot answer waits.
4. No clock: time passes as append times and `TimerFired`.
"""

from sdk.contract.events import BrakeEngaged, BrakeReleased, Decision
from tables.decide_apps import decide_apps, reserve_room, stranded_apps, wanted_apps
from tables.decide_grants import decide_grants
from tables.decide_nodes import decide_nodes, decide_orders, decide_pools
from tables.decide_spares import decide_spares
from tables.plan import Plan
from tables.state import State
from tables.witness import Witness


def decide(state: State, witness: Witness, *, most: int | None = None) -> list[Decision]:
    """What is due now, in the order in which it must be appended: everything, or the first `most` decisions of it.

    What is left is decided once these are folded, as after a crash between two of them.
    """
    plan = Plan(state, witness, most=most)
    _decide_brake(plan)
    decide_nodes(plan)
    decide_orders(plan)
    decide_spares(plan)
    decide_pools(plan)
    if plan.is_full or plan.is_blind:
        # Where an app may go is not known: to look through all that wait would only keep the witness from reading.
        return plan.decisions[:most]
    wanted = wanted_apps(plan)
    stranded = stranded_apps(plan, wanted)
    reserve_room(plan, stranded)
    decide_grants(plan)
    decide_apps(plan, wanted, stranded)
    return plan.decisions[:most]


def _decide_brake(plan: Plan) -> None:
    brake, policy = plan.state.brake, plan.state.policy
    if brake.engaged < 0 and brake.band != "calm" and not brake.overridden:
        plan.add(
            BrakeEngaged(
                **plan.basis,
                band=brake.band,
                overdue=brake.overdue,
                nodes=brake.nodes,
                wake_ms=max(1, policy.brake_hold_ms),
            )
        )
    elif brake.engaged >= 0 and brake.band == "calm" and brake.wake is not None and brake.wake.fired:
        plan.add(BrakeReleased(**plan.basis, reason="calm"))
