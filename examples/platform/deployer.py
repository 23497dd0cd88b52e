"""The deployer: knows the active nodes, in the words that other subsystems expect."""

from looking import look_for_ever

from sdk.deployer import Node
from sdk.heartbeat import HeartBeat


def show(nodes: list[Node]) -> str:
    """The active nodes as `<ip> <port>`, with colons between them."""
    return "active: " + ":".join(f"{node.ip} {node.port}" for node in nodes if node.status == "active")


with HeartBeat("service-deployer"):
    look_for_ever(show)
