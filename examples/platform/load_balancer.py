"""The load balancer: prints how full each node is, and whether the load is spread evenly."""

from looking import look_for_ever

from sdk.deployer import Node
from sdk.heartbeat import HeartBeat


def show(nodes: list[Node]) -> str:
    """The share of each node that is taken, and the fullest over the mean."""
    taken = {node.node: (node.slots - node.slots_free) / node.slots for node in nodes if node.slots}
    mean = sum(taken.values()) / len(taken) if taken else 0.0
    uneven = max(taken.values()) / mean if mean else 1.0
    loads = ", ".join(f"{name} {share:.0%}" for name, share in taken.items())
    return f"{loads or 'no nodes'}; fullest over mean {uneven:.2f}"


with HeartBeat("service-load-balancer"):
    look_for_ever(show)
