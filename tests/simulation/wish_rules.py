"""Rules about what people asked for: needs, restarts and pauses, judged from the log. Part of the simulator.

They keep a book of their own of the events that counted: which services ran when, which copy was made from which spec,
what is paused. The state is asked for what only it has: where an app is.
"""

from sdk.contract import events as e
from sdk.contract.specs import AppSpec, needed_services
from tables.state import State

Fault = tuple[str, str]


class WishRules:
    """What people wished for, as far as the log has it."""

    def __init__(self) -> None:
        self._spec_of: dict[str, AppSpec] = {}
        #: Generation -> the spec that it was made from.
        self._made_of: dict[int, AppSpec] = {}
        #: Apps that have ever beaten.
        self._ran: set[str] = set()
        #: Apps that somebody wanted to run, or to run again, since they were placed last.
        self._asked: set[str] = set()
        #: Generations that ended by themselves, and how.
        self._ended: dict[int, int | None] = {}
        self._condemned: set[int] = set()
        #: What is paused -> offset that its timer names.
        self._paused: dict[str, int] = {}

    def accepted(self, event: e.Event, offset: int) -> None:
        """An event counted."""
        match event:
            case e.AppSubmitted():
                self._spec_of[event.spec.app] = event.spec
                self._asked.add(event.spec.app)
            case e.AppRestartRequested():
                self._asked.add(event.app)
            case e.AppPlaced():
                self._made_of[offset] = self._spec_of[event.app]
                self._asked.discard(event.app)
            case e.AppPrepared():
                self._made_of[offset] = self._spec_of[event.app]
            case e.AppStarted():
                self._ran.add(event.app)
            case e.AppDeclaredDown():
                self._condemned.add(event.generation)
            case e.AppExited(reason="exited"):
                self._ended[event.generation] = event.exit_code
            case _:
                self._note_pause(event, offset)

    def _note_pause(self, event: e.Event, offset: int) -> None:
        match event:
            case e.WatchPaused():
                self._paused[event.subject] = offset
            case e.WatchResumed():
                del self._paused[event.subject]
            case e.TimerFired(table="pauses"):
                del self._paused[event.key]
            case _:
                pass

    def fault(self, event: e.Event, state: State) -> Fault | None:
        """What is wrong with an event if the fold accepts it; the state is the one before it."""
        if isinstance(event, e.AppPlaced) and event.app in self._spec_of:
            return (
                self._needs_fault(event, state)
                or self._restart_fault(event)
                or self._pause_fault(event, state)
            )
        return self._pause_fault(event, state)

    def _needs_fault(self, event: e.AppPlaced, state: State) -> Fault | None:
        for service in needed_services(self._spec_of[event.app]):
            if service not in state.apps and service in state.sources and not state.sources[service].silent:
                continue
            if service not in self._ran:
                return "a service comes before those that need it", f"{event}: {service} has never run"
            if state.apps[service].phase != "running" or state.apps[service].silent:
                return "a service comes before those that need it", f"{event}: {service} does not run"
        return None

    def _restart_fault(self, event: e.AppPlaced) -> Fault | None:
        old = self._made_of.get(event.replaces)
        if old is None or event.app in self._asked:
            return None
        if old.restart == "never":
            return "what runs once runs once", f"{event}: nobody asked for another copy"
        finished = self._ended.get(event.replaces) == 0 and event.replaces not in self._condemned
        if old.restart == "on-failure" and finished and event.reason == "failure":
            return "what has finished is not run again", f"{event}: its copy ended with 0"
        return None

    def _pause_fault(self, event: e.Event, state: State) -> Fault | None:
        match event:
            case e.NodeDeclaredDown() if event.reason != "confirmed":
                paused = self._is_paused(event.node)
            case e.AppDeclaredDown() | e.AppHeldBack() | e.AppGaveUp() | e.AppFinished():
                paused = self._is_app_paused(event.app, state)
            case e.AppPlaced(reason="failure" | "node-down"):
                paused = self._is_app_paused(event.app, state)
            case e.NodeOrdered() if event.replaces:
                paused = self._is_paused(event.replaces)
            case _:
                return None
        return ("nothing is concluded about what is paused", str(event)) if paused else None

    def _is_paused(self, subject: str) -> bool:
        return "platform" in self._paused or subject in self._paused

    def _is_app_paused(self, app: str, state: State) -> bool:
        row = state.apps.get(app)
        return self._is_paused(app) or (row is not None and self._is_paused(row.node))
