"""One turn of the runner: a copy of the state, and the instructions so far. Pure core of the agents."""

from typing import Any

import msgspec

from agents.inputs import Instruction, Kill, ReadOrders, Save, Say, Stop
from agents.state import Image, State, image_of


class Turn:
    """The working copy that the rules of one turn write to."""

    def __init__(self, state: State, now_ms: int) -> None:
        self.state = msgspec.structs.replace(state)
        self.state.things = dict(state.things)
        self.now_ms = now_ms
        self.out: list[Instruction] = []
        self._saved: Image | None = None

    def do(self, instruction: Instruction) -> None:
        """Add an instruction; the shell carries them out in this order."""
        self.out.append(instruction)

    def say(self, level: str, text: str) -> None:
        """Add a line for the log."""
        self.do(Say(level, text))

    def save(self) -> None:
        """Bring the state to disk, unless this turn has just done so."""
        image = image_of(self.state)
        if image != self._saved:
            self._saved = image
            self.do(Save(image))

    def is_current(self, key: str, epoch: int) -> bool:
        """Whether this copy is the one under its key and may be alive."""
        thing = self.state.things.get(key)
        return thing is not None and thing.epoch == epoch and thing.is_alive

    def change(self, key: str, **fields: Any) -> None:
        """Replace fields of a thing."""
        self.state.things[key] = msgspec.structs.replace(self.state.things[key], **fields)

    def beat(self, key: str) -> None:
        """A thing has beaten: it runs, and an age that was reported as too high is not any more."""
        thing = self.state.things[key]
        self.state.is_changed |= thing.status == "starting" or thing.late
        status = "running" if thing.status == "starting" else thing.status
        self.change(key, since_ms=self.now_ms, status=status, late=False, settled_ms=0)

    def stop(self, key: str, *, grace_ms: int) -> None:
        """Ask a thing to stop, once; it is killed when the grace is over. A pool's nodes get no grace."""
        thing = self.state.things[key]
        kill_at_ms = self.now_ms + grace_ms
        if thing.kill_at_ms is not None:
            self.change(key, kill_at_ms=min(thing.kill_at_ms, kill_at_ms))
            return
        self.change(key, status="stopping", kill_at_ms=kill_at_ms)
        self.do(Stop(key, thing.epoch))

    def kill(self, key: str) -> None:
        """End a thing now, once; whoever carries it out sees to it that it dies."""
        thing = self.state.things[key]
        if not thing.killed:
            self.change(key, status="stopping", killed=True)
            self.do(Kill(key, thing.epoch))

    def read_again(self) -> None:
        """Read orders from the beginning and obey nothing until the end is reached."""
        self.state.is_caught_up = False
        self.do(ReadOrders())
