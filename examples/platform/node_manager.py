"""The node manager: prints how many nodes there are, which have room, and how each one stands."""

from looking import look_for_ever

from sdk.deployer import Node
from sdk.heartbeat import HeartBeat


def show(nodes: list[Node]) -> str:
    """A line for all nodes and one for each."""
    free = [node.node for node in nodes if node.status == "active" and node.slots_free]
    lines = [f"{len(nodes)} nodes, {len(free)} with room: {' '.join(free) or '-'}"]
    for node in nodes:
        kind = "platform" if any(app.startswith("service-") for app in node.apps) else "application"
        lines.append(f"  {node.node} {node.status}, {kind}, {len(node.apps)} apps, {node.slots_free} free")
    return "\n".join(lines)


with HeartBeat("service-node-manager"):
    look_for_ever(show)
