"""The rows about notifications: what people see, who has spoken, how far the topic was read. Pure."""

from typing import Literal

import msgspec

from sdk.contract.notifications import Severity
from tables.wakes import Wake

NotificationState = Literal["open", "acknowledged", "cleared"]


class NotificationRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an app tells people under one key; the row goes some time after it was cleared, or not heard again."""

    app: str
    key: str
    #: Its number for people; one that is opened anew after it was cleared has another.
    number: int
    #: What its newest occurrence said.
    text: str
    #: The loudest since it was opened, escalations included.
    severity: Severity
    state: NotificationState
    #: Occurrences since it was opened.
    count: int
    #: First and last of them, for people.
    first_at_ms: int
    last_at_ms: int
    #: When it was opened, and when it was heard last, by the log.
    opened_at_ms: int
    heard_at_ms: int
    generation: int = 0
    repeat_every_ms: int = 0
    escalate_after_ms: int = 0
    #: Times that it grew louder because nobody answered.
    escalations: int = 0
    #: Who acknowledged or cleared it last, and when.
    by: str = ""
    answered_at_ms: int = 0
    #: When it grows louder.
    wake: Wake | None = None


class Writer(msgspec.Struct, frozen=True, array_like=True):
    """The highest number of a process that counted, and what its buffer has pushed out."""

    number: int
    dropped: int = 0


class SpeakerRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """An app that has notified: what tells a record of it that counts from one that does not."""

    app: str
    #: The newest generation that has spoken; what an older one says after it is stale.
    generation: int
    #: The processes of that generation that spoke, the latest last.
    writers: dict[str, Writer] = {}
    heard_at_ms: int = 0
    #: Occurrences that counted, and those that buffers of the app have pushed out.
    occurrences: int = 0
    dropped: int = 0
    #: Notices of a copy that spoke on although a newer one runs.
    stale: int = 0


class InboxRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the notifications topic was read."""

    topic_id: str = ""
    #: The next offset to read.
    next_offset: int = 0
    #: The number given last.
    numbers: int = 0
    #: Records of all time that did not count, by reason.
    doubled: int = 0
    stale: int = 0
    garbled: int = 0
    lost: int = 0
    #: Rows dropped because there were too many.
    crowded_out: int = 0
    #: When rows were last looked through for old ones.
    swept_at_ms: int = 0
