"""Old versions of events, stepped up to the ones that are written now. Pure.

Rules:
1. A log is never rewritten: what was written as version 1 is read for ever, by the steps from there to now, one version
   at a time. Everything after the codec knows the newest version only.
2. A step takes the fields of one version and gives those of the next. It never fails on what the version before could
   be; what it gives is checked like any record.
3. A new optional field is no new version. A field that is gone, or means something else, is.
"""

from collections.abc import Callable
from typing import Any, Final

#: The fields of an event, as JSON has them.
Fields = dict[str, Any]


def _without_free_slots(fields: Fields) -> Fields:
    """Version 1 said how many slots the best three nodes had free (`scores`); `ranking` says what made the choice."""
    return {name: value for name, value in fields.items() if name != "scores"}


#: Type of an old version -> the type of the next, and the step to it.
UPCASTS: Final[dict[str, tuple[str, Callable[[Fields], Fields]]]] = {
    "watchkeep.app.placed.v1": ("watchkeep.app.placed.v2", _without_free_slots),
}


def upcast(type_: str, fields: Fields) -> tuple[str, Fields]:
    """Type and fields of the newest version of an event; what has no newer one is given back as it is."""
    while (step := UPCASTS.get(type_)) is not None:
        type_, fields = step[0], step[1](fields)
    return type_, fields
