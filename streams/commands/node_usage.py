"""How busy a node is right now, asked of its agent. Shell."""

from __future__ import annotations

from typing import Any

#: The agent answers in some ms; `nodes show` waits no longer for one that does not.
USAGE_WITHIN_S = 2.0
#: An answer is some 200 bytes.
_BYTES_MAX = 64 << 10


def fetch_usage(ip: str, port: int) -> dict[str, Any] | None:
    """`load` per core, `memory_mib` and `memory_used_mib` of the node's machine; None if its agent does not answer."""
    import json
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(ip, port, timeout=USAGE_WITHIN_S)
    try:
        connection.request("GET", "/health")
        health = json.loads(connection.getresponse().read(_BYTES_MAX))
        return {key: health[key] for key in ("load", "memory_mib", "memory_used_mib")}
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def usage_words(usage: dict[str, Any] | None) -> str:
    """The same for people."""
    if usage is None:
        return "its agent does not answer"
    return f"load {usage['load']:g} per core, {usage['memory_used_mib']} of {usage['memory_mib']} MiB in use"
