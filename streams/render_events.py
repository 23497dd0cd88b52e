"""How an event looks to people: its type in short, and what it says in one line. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from sdk.contract.events import Event, NotificationsRead

#: Fields of an event that are said elsewhere in its line, or only matter to whoever proves it.
_BACKGROUND = {
    "term",
    "based_on",
    "policy",
    "fence",
    "position",
    "positions",
    "topic_id",
    "wake_ms",
    "request",
}


_VERSION = re.compile(r"\.v\d+$")


def short_type(name: str) -> str:
    """`watchkeep.app.placed.v2` -> `app.placed`."""
    return _VERSION.sub("", name.removeprefix("watchkeep."))


def event_words(event: Event) -> str:
    """What an event says, in one line."""
    if isinstance(event, NotificationsRead):
        from streams.render_notifications import notices_words

        return notices_words(event)
    fields = msgspec.to_builtins(event)
    return " ".join(
        f"{name}={_word(value)}"
        for name, value in fields.items()
        if name not in _BACKGROUND and value not in ("", None, [], {})
    )


def _word(value: Any) -> str:
    if isinstance(value, str) and " " not in value and value.isprintable():
        return value
    return msgspec.json.encode(value).decode()
