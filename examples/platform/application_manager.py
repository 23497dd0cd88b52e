"""The application manager: prints where applications run, and when one has come, gone or moved."""

from looking import look_for_ever

from sdk.deployer import Node
from sdk.heartbeat import HeartBeat

#: Application -> the node it was last seen on.
homes: dict[str, str] = {}


def show(nodes: list[Node]) -> str:
    """What has changed since the last look, then how many run."""
    now = {app: node.node for node in nodes for app in node.apps if app.startswith("application-")}
    changes = [
        f"{app}: {homes.get(app, 'new')} -> {node}" for app, node in now.items() if homes.get(app) != node
    ]
    changes += [f"{app}: {node} -> gone" for app, node in homes.items() if app not in now]
    homes.clear()
    homes.update(now)
    return "\n".join([*changes, f"{len(now)} applications run"])


with HeartBeat("service-application-manager"):
    look_for_ever(show)
