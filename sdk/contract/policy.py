"""Policy: everything that decides, as one record on the log (`PolicyChanged`). Pure.

Settings only seed the first; after that it changes by request, and every decision names the offset of the
policy it was made under. Units last; sources of the defaults: DESIGN 8 and 13.
"""

import msgspec

from sdk.contract.whole import Whole


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of detection and recovery."""

    #: Silence after which a source is found. Source: the contract of `heart_beat()`, two beats of 5 s.
    silence_limit_ms: Whole = 10_000
    #: Silence after which a node counts for the brake: half the limit. More makes the brake late.
    overdue_ms: Whole = 5_000
    #: After a cut step of the clock, nobody's deadline comes sooner: a beat interval plus the slowest reconnect.
    settling_ms: Whole = 10_000
    #: One source's silence is postponed by settling at most this much: two settlings.
    settling_in_all_ms: Whole = 20_000
    #: Largest step of the log clock: four ticks.
    clock_step_max_ms: Whole = 1_000
    #: Destroy what is left of a node that fell silent, where the provider can.
    destroy_silent_nodes: bool = True
    #: Bound of that attempt; then recovery goes on.
    destroy_within_ms: Whole = 2_000
    #: Bound of killing a condemned app; then it is placed anew.
    kill_within_ms: Whole = 2_000
    #: A node must register this soon after it was ordered.
    register_within_ms: Whole = 60_000
    #: First and largest pause before a pool tries again, and failures after which it is degraded.
    pool_backoff_ms: Whole = 1_000
    pool_backoff_max_ms: Whole = 300_000
    pool_degraded_after: Whole = 5
    #: First restart at once, then this, doubling to the largest.
    app_backoff_ms: Whole = 1_000
    app_backoff_max_ms: Whole = 60_000
    #: A run this long wipes the slate.
    app_good_run_ms: Whole = 600_000
    #: Failures within the window after which an app is given up.
    app_give_up_after: Whole = 5
    app_give_up_window_ms: Whole = 300_000
    #: The brake: with at least so many nodes, over this share overdue, nothing silent is replaced for the
    #: hold, then one node per step; it ends when the share was within bounds for the calm.
    brake_nodes_min: Whole = 3
    brake_share_percent: Whole = 55
    brake_hold_ms: Whole = 60_000
    brake_step_ms: Whole = 10_000
    brake_calm_ms: Whole = 10_000
    #: `spread` puts an app on the emptiest node, `binpack` on the fullest that has room (`tables/score.py`).
    strategy: str = "spread"
    #: Nodes a pool may have at most, those being created included.
    pool_nodes_max: Whole = 100
    #: Room on a node is kept this long for who asked for it: a deployer submits its app within seconds, and
    #: who died holds up the others no longer.
    grant_within_ms: Whole = 60_000
    #: `new-node` replaces a dead node by a new one that gets all its apps; `spread` puts them at once on the nodes that
    #: have room, and the pool is filled up with an empty node. Source: the mission asks for the first.
    on_node_failure: str = "new-node"
    #: A node that was declared down so often within the window takes no apps for the time of its quarantine.
    node_quarantine_after: Whole = 3
    node_failure_window_ms: Whole = 600_000
    node_quarantine_ms: Whole = 1_800_000
    #: Apps of a drained node that could not be made ready elsewhere by then are moved by force.
    drain_within_ms: Whole = 3_600_000


#: Allowed range of each number, so that no policy on the log can stop recovery or make it run wild.
_RANGES = {
    "silence_limit_ms": (2_000, 3_600_000),
    "overdue_ms": (1_000, 3_600_000),
    "settling_ms": (0, 600_000),
    "settling_in_all_ms": (0, 1_200_000),
    "clock_step_max_ms": (500, 60_000),
    "destroy_within_ms": (0, 600_000),
    "kill_within_ms": (0, 600_000),
    "register_within_ms": (1_000, 7_200_000),
    "pool_backoff_ms": (1, 3_600_000),
    "pool_backoff_max_ms": (1, 86_400_000),
    "pool_degraded_after": (1, 1_000),
    "app_backoff_ms": (1, 3_600_000),
    "app_backoff_max_ms": (1, 86_400_000),
    "app_good_run_ms": (1, 86_400_000),
    "app_give_up_after": (1, 1_000),
    "app_give_up_window_ms": (1, 86_400_000),
    "brake_nodes_min": (1, 1_000_000),
    "brake_share_percent": (1, 100),
    "brake_hold_ms": (0, 3_600_000),
    "brake_step_ms": (0, 3_600_000),
    "brake_calm_ms": (0, 3_600_000),
    "pool_nodes_max": (1, 100_000),
    "grant_within_ms": (1_000, 3_600_000),
    "node_quarantine_after": (1, 1_000),
    "node_failure_window_ms": (1, 86_400_000),
    "node_quarantine_ms": (1, 604_800_000),
    "drain_within_ms": (1, 604_800_000),
}

STRATEGIES = ("spread", "binpack")
NODE_FAILURES = ("new-node", "spread")
#: Keys that take one of a few words.
WORDS = {"strategy": STRATEGIES, "on_node_failure": NODE_FAILURES}


def check_policy(policy: Policy) -> None:
    """Raise ValueError, naming the key and what is allowed, unless every value is in range."""
    for key, (low, high) in _RANGES.items():
        value = getattr(policy, key)
        if not low <= value <= high:
            raise ValueError(f"policy.{key}: {value} is out of range; allowed: {low} to {high}")
    if policy.overdue_ms >= policy.silence_limit_ms:
        raise ValueError(
            f"policy.overdue_ms: {policy.overdue_ms} must be below silence_limit_ms ({policy.silence_limit_ms})"
        )
    for key, words in WORDS.items():
        if getattr(policy, key) not in words:
            raise ValueError(
                f"policy.{key}: {getattr(policy, key)!r:.40} is unknown; allowed: {', '.join(words)}"
            )


def policy_from(values: dict[str, int | bool | str]) -> Policy:
    """The policy with `values` over the defaults.

    Raises:
        ValueError: an unknown key or a bad value, named.
    """
    try:
        policy = msgspec.convert(values, Policy)
    except msgspec.ValidationError as error:
        raise ValueError(f"policy: {error}") from None
    check_policy(policy)
    return policy
