"""`App`: what an application is while it runs, in one `with`. Importing it opens nothing.

    from sdk import App

    with App() as app:
        while app.running:
            if app.sensors[0].read().value > 30:
                app.notify("Too hot!", key="heat")
            app.sleep(1)

1. Inside the block it beats; name, generation and agent come from the environment that the agent made. Anywhere else it
   is named, `App("camera")`, and beats straight to Kafka.
2. SIGTERM ends the block where it stands, as does `app.stop()` at the next `app.running` or `app.sleep`. Then the app
   says goodbye: what it still has to say is delivered, within `GOODBYE_WITHIN_S`, it beats no more, and the program
   goes on after the block; one that has nothing there ends with exit code 0.
3. `async with App() as app:` is the same for programs with an event loop.
4. When Kafka is away nothing here waits or raises: see `sdk.sensors`, `sdk.controllers` and `sdk.notifications`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from sdk.heartbeat import BEAT_EVERY_S, HeartBeat

if TYPE_CHECKING:
    import asyncio
    from datetime import datetime
    from types import FrameType, TracebackType

    from sdk.command_handle import Handle
    from sdk.sensor_stream import SensorStream
    from sdk.sensors import Reading

T = TypeVar("T")

#: How long a goodbye may take, s. Source: an agent gives an app 5 s between SIGTERM and SIGKILL, unless it asks for
#: more.
GOODBYE_WITHIN_S = 4.0


class _Stopped(BaseException):
    """SIGTERM has come; ends the block and nothing else."""


class AppSensor:
    """The sensor that an app has at an index."""

    def __init__(self, app: str, index: int) -> None:
        self._app, self.index = app, index

    def read(self) -> Reading:
        """The newest value, from memory; errors and what happens when Kafka is away: `sdk.sensors.read`."""
        from sdk import sensors

        return sensors.read(self.index, app=self._app)

    async def read_async(self) -> Reading:
        """`read` for programs with an event loop."""
        from sdk import sensors

        return await sensors.read_async(self.index, app=self._app)

    def stream(
        self,
        n: int | None = None,
        *,
        since: float | datetime | None = None,
        at: datetime | None = None,
    ) -> SensorStream:
        """The values in their order, without gaps or repeats; see `sdk.sensors.stream`."""
        from sdk import sensors

        return sensors.stream(self.index, n, since=since, at=at, app=self._app)


class AppController:
    """The controller that an app has at an index."""

    def __init__(self, app: str, index: int) -> None:
        self._app, self.index = app, index

    def set(self, value: Any, timeout_s: float = 30.0, *, command: str | None = None) -> Handle:
        """Want a value of it; returns at once, with a handle that ends. See `sdk.controllers.set`."""
        from sdk import controllers

        return controllers.set(self.index, value, timeout_s, app=self._app, command=command)


class _Indexed(Generic[T]):
    """Things by the index that they are bound at; whether something is bound there shows when it is used."""

    def __init__(self, app: str, kind: type[T]) -> None:
        self._app, self._kind = app, kind

    def __getitem__(self, index: int) -> T:
        """The one at that index."""
        return self._kind(self._app, index)  # type: ignore[call-arg]


class App:
    """An application while it runs; a context manager, sync and async, that is entered once."""

    def __init__(self, name: str | None = None, *, every_s: float = BEAT_EVERY_S) -> None:
        """Prepare; nothing is opened before the block is entered.

        Args:
            name: Of the app, with or without `application-`; inside a managed app it may be left out.
            every_s: How often it beats, s.

        Raises:
            ValueError: no name, none of an app, or inside a managed app another one.
        """
        own = os.environ.get("WATCHKEEP_APP_ID", "")
        full = name if not name or name.startswith(("application-", "service-")) else f"application-{name}"
        if not full and not own:
            raise ValueError("name: outside of a managed app it must be given: App('camera')")
        if full and own and full != own:
            raise ValueError(f"name: this program is {own} and cannot be {full}")
        #: Its id, `application-<name>` or `service-<name>`.
        self.name: str = full or own
        generation = os.environ.get("WATCHKEEP_GENERATION", "")
        #: Which copy of it this is, as the platform counts; 0 of a program that no agent runs.
        self.generation = int(generation) if own and generation.isdecimal() else 0
        #: By index: `app.sensors[0].read()`, `app.sensors[0].stream(10)`.
        self.sensors = _Indexed(self.name, AppSensor)
        #: By index: `app.controllers[0].set({"on": True})`.
        self.controllers = _Indexed(self.name, AppController)
        self._heart = HeartBeat(self.name, every_s=every_s)
        self._stopping = threading.Event()
        self._before: Any = None
        self._has_handler = False
        self._task: asyncio.Task[Any] | None = None
        self._was_cancelled = False

    @property
    def running(self) -> bool:
        """False once the app is to end."""
        return not self._stopping.is_set()

    def notify(self, text: str, **how: Any) -> None:
        """Tell people something; `key`, `severity` and the rest as in `sdk.notifications.send`."""
        from sdk import notifications

        notifications.send(text, app=self.name, **how)

    def sleep(self, seconds: float) -> bool:
        """Wait so long, s, or until the app is to end; True if it goes on."""
        return not self._stopping.wait(seconds)

    def stop(self) -> None:
        """Let `running` be False and `sleep` return; from any thread."""
        self._stopping.set()

    # --- with -----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Beat, and take SIGTERM as the word to end."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._on_signal)
            self._has_handler = True
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Say goodbye; an error of the block goes on, SIGTERM does not."""
        if self._has_handler:
            # Another SIGTERM does not break off the goodbye.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            self._say_goodbye()
        finally:
            if self._has_handler:
                signal.signal(signal.SIGTERM, self._before)
                self._has_handler = False
        return isinstance(error, _Stopped)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signal calls it
        if self.running:
            self._stopping.set()
            raise _Stopped

    # --- async with -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Beat, and take SIGTERM as the word to end: the task that is in the block is cancelled."""
        import asyncio

        self._task = asyncio.current_task()
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._cancel)
            self._has_handler = True
        self._heart.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Say goodbye, without holding up the event loop."""
        import asyncio

        if self._has_handler:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
        if self._was_cancelled and self._task is not None:
            # Taken back, so that the goodbye and what follows the block are not cancelled as well.
            self._task.uncancel()
        try:
            await asyncio.to_thread(self._say_goodbye)
        finally:
            if self._has_handler:
                asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
                self._has_handler = False
        return self._was_cancelled and isinstance(error, asyncio.CancelledError)

    async def sleep_async(self, seconds: float) -> bool:
        """`sleep` for programs with an event loop."""
        import asyncio

        deadline_s = time.monotonic() + seconds
        while self.running and (left_s := deadline_s - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, 0.1))
        return self.running

    def _cancel(self) -> None:
        if self.running and self._task is not None:
            self._stopping.set()
            self._was_cancelled = True
            self._task.cancel()

    def _say_goodbye(self) -> None:
        """Deliver what waits, and beat until then: who is silent is taken for dead."""
        self._stopping.set()
        deadline_s = time.monotonic() + GOODBYE_WITHIN_S
        # What was never imported has nothing to say.
        for module, method in (("notifications", "close"), ("controllers", "close")):
            loaded = sys.modules.get(f"sdk.{module}")
            if loaded is not None:
                getattr(loaded, method)(max(0.1, (deadline_s - time.monotonic()) / 2))
        self._heart.stop()
        sensors = sys.modules.get("sdk.sensors")
        if sensors is not None:
            sensors.close()
