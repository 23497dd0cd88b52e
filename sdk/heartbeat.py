"""`heart_beat()`: tells the platform every 5 s that this program lives. Importing it opens nothing.

    from sdk.heartbeat import heart_beat, start_heart_beat, HeartBeat, heart_beat_task

    heart_beat("service-scheduler")                  # blocks, for a thread or process of your own
    handle = start_heart_beat("service-scheduler")   # a daemon thread; handle.stop()
    with HeartBeat("application-camera-1"): ...      # the same for a block of code
    async with HeartBeat("application-camera-1"): ...
    asyncio.create_task(heart_beat_task("..."))      # beats only while the event loop turns

A source is named `node-<ip>_<port>`, `application-<app instance id>` or `service-<service name>`. Inside an
app that Watchkeep runs the name comes from the environment and beats go to the node's agent; anywhere else
they go straight to Kafka (`KAFKA_BOOTSTRAP_SERVERS`, or the argument).

Rules:
1. The host program is never blocked and never sees an error of ours, apart from a wrong argument.
2. Only the newest beat counts: it is tried again until it is through or the next is due, at once when the way
   is back.
3. One line in the log when an outage begins, one when it is over.
4. When the agent answers that this copy is not wanted any more, we keep quiet for good.
"""

from __future__ import annotations

# The C module under `socket`: a fourth of the time that every app waits for its first beat. It has all we need.
import _socket
import os
import threading
import time

# `typing` costs 5 ms of an import that every app pays; type checkers take this name for their own.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Protocol, Self

    class _Way(Protocol):
        """How a beat leaves this process."""

        #: For the log: whom we beat to.
        goal: str

        def send(self, number: int) -> None:
            """Deliver a beat; _WayLostError or _NotWantedError if that failed."""

        def close(self) -> None:
            """Let go of connections."""


#: The contract: a source that is not heard for two of these is silent.
BEAT_EVERY_S = 5.0
#: Between two tries of one beat: first at once, then doubling from here to there. Source: DESIGN 6.
RETRY_PAUSE_S = 0.1
RETRY_PAUSE_MAX_S = 1.0
#: Patience with one try: an agent is on the same machine.
AGENT_WITHIN_S = 2.0

_KINDS = ("node-", "application-", "service-")


class _WayLostError(Exception):
    """The beat did not get through; worth another try."""


class _NotWantedError(Exception):
    """The agent does not know this copy (any more)."""


class HeartBeat:
    """A heart that beats in a thread of its own while it is started."""

    def __init__(
        self,
        source: str | None = None,
        *,
        every_s: float = BEAT_EVERY_S,
        bootstrap: str | None = None,
        prefix: str | None = None,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Raises:
            ValueError: the source has no name, or not one of ours.
        """
        self.source = _source_name(source)
        self._every_s = every_s
        self._way = _choose_way(self.source, bootstrap, prefix)
        self._changed = threading.Condition()
        self._is_stopped = False
        #: Beats asked for; the thread sends the newest and skips those it missed.
        self._asked = 0
        self._thread: threading.Thread | None = None
        self._lost_since_s: float | None = None

    def start(self) -> Self:
        """Beat from now on, the first beat at once."""
        return self._start(self._run)

    def stop(self) -> None:
        """Beat no more; returns when the thread is gone, or after 1 s."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def run(self) -> None:
        """Beat in the calling thread until `stop`, or until this copy is not wanted any more."""
        self._run()

    def start_manual(self) -> Self:
        """Start without a clock of our own: one beat for each `beat()`."""
        return self._start(self._run_manual)

    def beat(self) -> None:
        """Ask for one beat now; returns at once."""
        with self._changed:
            self._asked += 1
            self._changed.notify_all()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Start."""
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, without holding up the event loop."""
        import asyncio

        await asyncio.to_thread(self.stop)

    def _start(self, work: Callable[[], None]) -> Self:
        if self._thread is None:
            self._thread = threading.Thread(target=work, name="heart-beat", daemon=True)
            self._thread.start()
        return self

    def _run(self) -> None:
        """Beat at the start and then by the clock; what was missed is not made up for."""
        number = 0
        due_s = time.monotonic()
        try:
            while not self._is_stopped:
                number += 1
                due_s = max(due_s + self._every_s, time.monotonic())
                if not self._deliver(number, due_s):
                    return
                self._sleep(due_s - time.monotonic(), number)
        finally:
            self._way.close()

    def _run_manual(self) -> None:
        """Beat when asked."""
        done = 0
        try:
            while not self._is_stopped:
                self._sleep(None, done)
                done = self._asked
                if not self._deliver(done, None):
                    return
        finally:
            self._way.close()

    def _deliver(self, number: int, due_s: float | None) -> bool:
        """Try until the beat is through or the next is due; False if we are to keep quiet from now on."""
        pause_s = 0.0
        while not self._is_stopped:
            try:
                self._way.send(number)
            except _NotWantedError:
                _log("warning", f"{self.source}: this copy is not wanted any more, it beats no longer")
                return False
            except Exception as error:  # noqa: BLE001 - rule 1: whatever a client library throws stays here
                self._note_lost(error)
                if self._asked > number or (due_s is not None and time.monotonic() >= due_s):
                    return True
                self._sleep(pause_s, number)
                pause_s = min(max(2 * pause_s, RETRY_PAUSE_S), RETRY_PAUSE_MAX_S)
            else:
                self._note_back()
                return True
        return True

    def _sleep(self, within_s: float | None, number: int) -> None:
        """Wait until stopped, until a beat after `number` is asked for, or for this time."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._asked > number, within_s)

    def _note_lost(self, error: Exception) -> None:
        if self._lost_since_s is None:
            self._lost_since_s = time.monotonic()
            why = str(error) or type(error).__name__
            _log("warning", f"{self.source}: beats do not reach {self._way.goal} ({why}); trying on")

    def _note_back(self) -> None:
        if self._lost_since_s is not None:
            lost_s = time.monotonic() - self._lost_since_s
            self._lost_since_s = None
            _log("warning", f"{self.source}: beats reach {self._way.goal} again after {lost_s:.1f} s")


def heart_beat(
    source: str | None = None,
    *,
    every_s: float = BEAT_EVERY_S,
    bootstrap: str | None = None,
    prefix: str | None = None,
) -> None:
    """Beat for ever in the calling thread; returns only when this copy is not wanted any more."""
    HeartBeat(source, every_s=every_s, bootstrap=bootstrap, prefix=prefix).run()


def start_heart_beat(
    source: str | None = None,
    *,
    every_s: float = BEAT_EVERY_S,
    bootstrap: str | None = None,
    prefix: str | None = None,
) -> HeartBeat:
    """Beat in a daemon thread; `stop()` of what is returned ends it."""
    return HeartBeat(source, every_s=every_s, bootstrap=bootstrap, prefix=prefix).start()


async def heart_beat_task(
    source: str | None = None,
    *,
    every_s: float = BEAT_EVERY_S,
    bootstrap: str | None = None,
    prefix: str | None = None,
) -> None:
    """Beat until cancelled, and only while the event loop turns: one that hangs falls silent."""
    import asyncio

    heart = HeartBeat(source, every_s=every_s, bootstrap=bootstrap, prefix=prefix).start_manual()
    try:
        while True:
            heart.beat()
            await asyncio.sleep(every_s)
    finally:
        await asyncio.to_thread(heart.stop)


class _AgentWay:
    """Beats to the node's agent, over one kept connection and plain sockets."""

    def __init__(self, url: str, app: str, generation: str) -> None:
        host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
        self.goal = f"the agent at {host}:{port}"
        self._address = (host.strip("[]"), int(port))
        # Ids hold nothing that JSON escapes; the agent refuses what is no beat.
        body = f'["{app}",{int(generation)}]'
        self._request = (
            f"POST /beats HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body.encode())}\r\n\r\n{body}"
        ).encode()
        self._socket: _socket.socket | None = None

    def send(self, number: int) -> None:  # noqa: ARG002 - the agent numbers its reports, not our beats
        """One request on the open connection; on a fresh one if that has been closed meanwhile."""
        if self._socket is not None:
            try:
                self._exchange(self._socket)
            except (OSError, _WayLostError):
                self.close()
            else:
                return
        try:
            self._socket = _connect(self._address)
            self._exchange(self._socket)
        except OSError as error:
            self.close()
            raise _WayLostError(str(error)) from None
        except _WayLostError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, connection: _socket.socket) -> None:
        connection.sendall(self._request)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(4_096)
            if not piece or len(head) > 16_384:  # noqa: PLR2004 - far more than any answer of an agent
                raise _WayLostError("the agent closed the connection")
            head += piece
        status = head.split(b" ", 2)[1:2]
        if status == [b"410"]:
            raise _NotWantedError
        if status != [b"204"]:
            raise _WayLostError(f"the agent answered {head[:40]!r}")


def _connect(address: tuple[str, int]) -> _socket.socket:
    """A connection to an agent; ids carry addresses, never names to look up."""
    family = _socket.AF_INET6 if ":" in address[0] else _socket.AF_INET
    connection = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        connection.settimeout(AGENT_WITHIN_S)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _source_name(source: str | None) -> str:
    """The name to beat under: the argument, or what the agent called this app."""
    managed = os.environ.get("WATCHKEEP_APP_ID", "")
    name = source or managed
    if not name.startswith(_KINDS) or name in _KINDS or not _is_plain(name):
        raise ValueError(
            f"source {name!r:.80}: expected node-<ip>_<port>, application-<app instance id> or "
            f"service-<service name>"
        )
    if managed and name != managed:
        _log("warning", f"{name}: inside {managed} beats go to its agent under that name")
        return managed
    return name


def _is_plain(name: str) -> bool:
    """Whether the name holds nothing that JSON or HTTP would have to escape."""
    return all("!" <= letter <= "~" and letter not in '"\\' for letter in name)


def _choose_way(source: str, bootstrap: str | None, prefix: str | None) -> _Way:
    """To the agent inside a managed app, else to Kafka."""
    agent = os.environ.get("WATCHKEEP_AGENT")
    if agent and not bootstrap:
        return _AgentWay(agent, source, os.environ.get("WATCHKEEP_GENERATION", "0"))
    where = bootstrap or os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:9092"
    from sdk.kafka_way import KafkaWay

    return KafkaWay(source, where, prefix or os.environ.get("WATCHKEEP_PREFIX") or "watchkeep")


def _log(level: str, text: str) -> None:
    """One line; `logging` is loaded only when there is something to say."""
    import logging

    logging.getLogger("watchkeep.heartbeat").log(logging.getLevelNamesMapping()[level.upper()], text)
