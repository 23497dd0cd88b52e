"""Ids: strings with a type each, checked where they enter and derived, never drawn, in the core.

Pure. Rules:
1. An event id is derived from what the event says (`derive_id`), so a fact or a decision written
   again after a crash has the same id.
2. `registration`, `generation`, `term` and `order` are offsets of the events topic: they only grow.
"""

import hashlib
import re
from typing import NewType

NodeId = NewType("NodeId", str)
AppId = NewType("AppId", str)
PoolId = NewType("PoolId", str)
SourceId = NewType("SourceId", str)
EventId = NewType("EventId", str)
RequestId = NewType("RequestId", str)
WriterId = NewType("WriterId", str)
Claim = NewType("Claim", str)

#: Longest name a person may give. Source: Kafka topic names end at 249 characters and ours carry a prefix.
NAME_LENGTH_MAX = 100

#: What the id of an app begins with; the first is meant where nothing is said.
APP_KINDS = ("application", "service")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NODE = re.compile(r"node-(?P<ip>[0-9A-Za-z.:-]+)_(?P<port>\d{1,5})")


def check_name(name: str, *, what: str) -> str:
    """Return `name` if it may stand in an id.

    Raises:
        ValueError: names what was wrong and what is allowed.
    """
    if len(name) > NAME_LENGTH_MAX or not _NAME.fullmatch(name):
        raise ValueError(
            f"{what} {name!r:.60} is not a name: 1 to {NAME_LENGTH_MAX} of A-Z a-z 0-9 . _ -, "
            f"beginning with a letter or digit"
        )
    return name


def node_id(ip: str, port: int) -> NodeId:
    """Id of the node whose agent listens on `ip` and `port`."""
    return NodeId(f"node-{ip}_{port}")


def split_node_id(node: str) -> tuple[str, int]:
    """The ip and port in a node id.

    Raises:
        ValueError: `node` is not of the form `node-<ip>_<port>`.
    """
    match = _NODE.fullmatch(node)
    if match is None:
        raise ValueError(f"{node!r:.80} is not a node id: expected node-<ip>_<port>")
    return match["ip"], int(match["port"])


def app_id(instance: str) -> AppId:
    """Id of the application instance `instance`."""
    return AppId(f"application-{check_name(instance, what='application instance')}")


def service_id(name: str) -> AppId:
    """Id of the service `name`; a service is an app of kind `service`."""
    return AppId(f"service-{check_name(name, what='service')}")


def complete_id(name: str, kinds: tuple[str, ...]) -> str:
    """The id that a person means: `name` if it begins with one of the kinds, else with the first of them before it."""
    return name if name.startswith(tuple(f"{kind}-" for kind in kinds)) else f"{kinds[0]}-{name}"


def complete_app(name: str) -> str:
    """The id of an app by its short name: an application, unless it says that it is a service."""
    return complete_id(name, APP_KINDS)


def check_app(app: str) -> str:
    """Return `app` if it is the id of an app.

    Raises:
        ValueError: it is none; says what is allowed.
    """
    kind, dash, name = app.partition("-")
    if not dash or kind not in APP_KINDS:
        raise ValueError(f"app: {app!r:.80} must begin with application- or service-")
    check_name(name, what=kind)
    return app


def pool_id(name: str) -> PoolId:
    """Id of the pool `name`, the reporter id of its provisioner and the key of its orders."""
    return PoolId(f"pool-{check_name(name, what='pool')}")


def derive_id(*parts: str | int) -> EventId:
    """Id derived from `parts`, 32 hex digits; equal parts in equal order give equal ids."""
    text = "\x1f".join(str(part) for part in parts)
    return EventId(hashlib.blake2b(text.encode(), digest_size=16).hexdigest())


def derive_fraction(*parts: str | int) -> float:
    """A number in [0, 1) derived from `parts`: the jitter of a core that may not draw."""
    return int(derive_id(*parts)[:13], 16) / float(1 << 52)
