"""Controllers: what an app drives. Importing it opens nothing; the first command starts two threads in the background.

    from sdk import controllers

    handle = controllers.set(0, {"on": True}, timeout_s=30.0)   # returns at once, whether Kafka is there or not
    if handle.wait() != "done":                                 # done, rejected, expired or unreachable
        print(handle.state, handle.reason)

A controller is known by the index that it is bound at (`python cli.py controllers bind`). Inside an app that Watchkeep
runs the app and its generation are known; anywhere else the app is named: `set(0, 21.5, app="application-1")`. Kafka is
found by `KAFKA_BOOTSTRAP_SERVERS`.

A command is a request to the platform, which refuses an old copy of an app and lets one command be in force at each
controller: a newer one takes the place of the one before, whose handle ends as rejected. When Kafka is away commands
wait in a bounded buffer until their time is over, and arrive once. A command that is not carried out in its time is
withdrawn. `handle.result()` returns what the device reported, or raises.

A device program answers with `serve`:

    controllers.serve("lamp", switch)      # calls switch(value) for each command, once, and reports what it returns
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sdk.command_feed import CommandFeed, RequestPost
from sdk.command_handle import CommandState, Handle
from sdk.contract.codec import encode_request
from sdk.contract.controllers import COMMAND_LENGTH_MAX, FOR_MS, check_for_ms, check_value
from sdk.contract.devices import check_index
from sdk.contract.ids import complete_app
from sdk.contract.requests import SetController
from sdk.contract.topics import Topics
from sdk.controller_device import Rejected, serve
from sdk.outbox import SIZE, Letter, Outbox, Outcome, WhenFull
from sdk.sensor_errors import NotYoursError, UnknownAppError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CommandState", "Handle", "Rejected", "close", "configure", "dropped", "serve", "set", "set_async"]

#: How long a command may wait for its device: a device program that is started again and some.
TIMEOUT_S: Final = 30.0

#: Ids of commands of this process: drawn once, because to draw lets other threads in, for up to 5 ms.
_drawn = uuid.uuid4().hex
_numbers = itertools.count(1)

_lock = threading.Lock()
_ways: dict[tuple[str, str], _Way] = {}
_buffer: tuple[int, WhenFull] = (SIZE, "drop-oldest")


class _Way(msgspec.Struct):
    """Commands out, and what becomes of them back."""

    topic: str
    outbox: Outbox
    feed: CommandFeed


def set(  # noqa: A001  # the word for it, always with its module before it
    controller_idx: int,
    value: Any,
    timeout_s: float = TIMEOUT_S,
    *,
    app: str | None = None,
    command: str | None = None,
) -> Handle:
    """Want a value of the controller at an index; returns at once.

    Args:
        controller_idx: The index that it is bound at.
        value: Anything that JSON can say, at most 64 KiB of it and nested at most 32 deep.
        timeout_s: How long it may wait for its device, 0.1 s to 24 h; counted from now, wherever it waits.
        app: Whose controller; inside a managed app its own.
        command: An id of the app's own choice: who sets again under the same id, after a crash say, does not have it
            done twice. Without it each call is another command.

    Raises:
        UnknownAppError: no app was named outside of a managed app.
        NotYoursError: inside a managed app, another app was named.
        ValueError: no index, no value, a value that is too large, or a time out of range.
        OutboxFullError: the buffer is full and was configured to refuse.
    """
    name, generation = _asker(app)
    check_index(controller_idx)
    timeout_ms = round(timeout_s * 1000)
    check_for_ms(timeout_ms)
    text = _text(value)
    wish = SetController(text, timeout_ms, name, controller_idx, "", generation)
    return _send(wish, _command_id(name, command), timeout_s)


async def set_async(
    controller_idx: int,
    value: Any,
    timeout_s: float = TIMEOUT_S,
    *,
    app: str | None = None,
    command: str | None = None,
) -> Handle:
    """`set` for programs with an event loop; wait with `await handle.wait_async()`."""
    # Here and not above: most apps have no event loop, and it takes as long to import as all the rest.
    import asyncio

    # Not held up by a large value either.
    return await asyncio.to_thread(set, controller_idx, value, timeout_s, app=app, command=command)


def set_by_id(controller: str, value: Any, timeout_s: float = TIMEOUT_S) -> Handle:
    """What a person wants of a controller, by its id (`controller-...`); for the command line."""
    check_for_ms(round(timeout_s * 1000))
    wish = SetController(_text(value), round(timeout_s * 1000), controller=controller)
    return _send(wish, _command_id("", None), timeout_s)


def configure(*, size: int = SIZE, when_full: WhenFull = "drop-oldest") -> None:
    """How many commands may wait for Kafka, and what becomes of the next; before the first `set`, or after `close`.

    Raises:
        ValueError: a size below 1, or another word for what happens when it is full.
    """
    global _buffer  # noqa: PLW0603  # one buffer for the process, as its one place
    if size < 1 or when_full not in ("drop-oldest", "refuse"):
        raise ValueError(
            f"size: {size}, when_full: {when_full!r}; allowed: 1 and more, drop-oldest or refuse"
        )
    _buffer = (size, when_full)


def dropped() -> int:
    """Commands that were pushed out of the full buffer; their handles ended as unreachable."""
    return sum(way.outbox.dropped for way in _ways.values())


def close(within_s: float = 5.0) -> None:
    """Deliver what waits, at most for that time, and stop both threads; the next `set` starts again."""
    with _lock:
        ways = list(_ways.values())
        _ways.clear()
    for way in ways:
        way.outbox.close(within_s)
        way.feed.close()


def _draw_again() -> None:
    """In a forked child: the parent's ids are the parent's."""
    global _drawn  # noqa: PLW0603  # one for the process
    _drawn = uuid.uuid4().hex


os.register_at_fork(after_in_child=_draw_again)


def _send(wish: SetController, command: str, timeout_s: float) -> Handle:
    way = _way()
    handle = Handle(command, timeout_s)
    way.feed.follow(handle)
    until_s = time.monotonic() + timeout_s
    way.outbox.put(
        Letter(
            way.topic,
            command.encode(),
            wish,
            encode=_encoder(command, until_s),
            until_s=until_s,
            ended=lambda outcome: _unsent(handle, outcome),
        )
    )
    return handle


def _encoder(command: str, until_s: float) -> Callable[[SetController], bytes]:
    def encode(wish: SetController) -> bytes:
        """The request as it is sent now: what has passed since counts."""
        left_ms = max(FOR_MS[0], round((until_s - time.monotonic()) * 1000))
        now_ms = time.time_ns() // 1_000_000
        wish = msgspec.structs.replace(wish, for_ms=left_ms, sent_at_ms=now_ms)
        return encode_request(wish, request_id=command, asker=wish.app or "cli", at_ms=now_ms)

    return encode


def _unsent(handle: Handle, outcome: Outcome) -> None:
    if outcome == "dropped":
        handle.end("unreachable", "newer commands pushed it out of the full buffer; it was not sent")
    elif outcome == "expired":
        handle.end("unreachable", "Kafka took no records in its time; it was not sent, or too late")


def _way() -> _Way:
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:9092"
    prefix = os.environ.get("WATCHKEEP_PREFIX") or "watchkeep"
    way = _ways.get((bootstrap, prefix))
    if way is None:
        with _lock:
            way = _ways.get((bootstrap, prefix))
            if way is None:
                feed = CommandFeed(bootstrap, prefix)
                size, when_full = _buffer
                post = RequestPost(bootstrap, os.environ.get("WATCHKEEP_APP_ID") or "sdk", feed)
                outbox = Outbox(post, size=size, when_full=when_full)
                way = _ways[bootstrap, prefix] = _Way(Topics(prefix).requests, outbox, feed)
    return way


def _asker(app: str | None) -> tuple[str, int]:
    """Whose controller it is, and the generation of the copy that asks."""
    own = os.environ.get("WATCHKEEP_APP_ID", "")
    name = complete_app(app) if app else own
    if not name:
        raise UnknownAppError("Outside of a managed app the app must be named: app='application-...'.")
    if own and name != own:
        raise NotYoursError(f"{own} cannot set the controllers of {name}: only its own.")
    return name, int(os.environ.get("WATCHKEEP_GENERATION") or 0) if own else 0


def _command_id(app: str, command: str | None) -> str:
    if command is None:
        return f"{_drawn}-{next(_numbers)}"
    if not 1 <= len(command) <= COMMAND_LENGTH_MAX or not command.isprintable():
        raise ValueError(f"command: {command!r:.60} must be 1 to {COMMAND_LENGTH_MAX} printable letters")
    return f"{app}/{command}"


def _text(value: Any) -> str:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"value: {value!r:.60} cannot be said in JSON ({error})") from None
    check_value(text)
    return text
