"""What an agent writes down of apps that do not simply beat: what is checked, who was ready, whose port it chose.

Shell of the agents. So an agent that starts again can say that they live before it has read any orders, asks none of
them twice whether it is ready, and finds each where it listens.
"""

import logging
import socket
from pathlib import Path

import msgspec

from agents.disk import read_record, write_atomic
from agents.driver import StartError
from sdk.contract.orders import AppOrder
from sdk.contract.running import Heartbeat, HttpCheck

log = logging.getLogger("watchkeep.checks")

#: Tries for a port that is free and not one of ours; two suffice but for very bad luck.
_TRIES = 16


class Checked(msgspec.Struct, omit_defaults=True):
    """A copy in the book; one that was started anew is another object."""

    app: str
    generation: int
    heartbeat: Heartbeat = "sdk"
    http: HttpCheck | None = None
    readiness: HttpCheck | None = None
    #: Chosen for it; 0 if it has ports of its own.
    port: int = 0
    #: Its readiness page has answered since it was started.
    answered: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether its beats count."""
        return self.readiness is None or self.answered


class CheckBook:
    """The book `checks.json` in the node's directory; one line an app, of its newest copy."""

    def __init__(self, path: Path, *, ip: str) -> None:
        self._path = path
        self._ip = ip
        self._copies = {copy.app: copy for copy in read_record(path, list[Checked], [])}

    def begin(self, order: AppOrder) -> AppOrder:
        """Note a copy that is about to start; its order, with the port that was chosen among its variables.

        Raises:
            StartError: there is no free port.
        """
        before = self._copies.pop(order.app, None)
        copy = Checked(order.app, order.generation, order.heartbeat, order.http, order.readiness)
        if copy.heartbeat == "sdk" and copy.readiness is None:
            if before is not None:
                self._write()
            return order
        self._copies[order.app] = copy
        if any(check is not None and not check.port for check in (copy.http, copy.readiness)):
            # The same copy keeps its port when it starts again: somebody may know it by now.
            is_same = before is not None and before.generation == copy.generation
            copy.port = (before.port if before is not None and is_same else 0) or self._choose(order.app)
            order = msgspec.structs.replace(order, env={**order.env, "WATCHKEEP_PORT": str(copy.port)})
        self._write()
        return order

    def find(self, app: str, generation: int) -> Checked | None:
        """What is noted of a copy; None of one that simply beats."""
        known = self._copies.get(app)
        return known if known is not None and known.generation == generation else None

    def note_ready(self, copy: Checked) -> None:
        """The copy's readiness page has answered."""
        copy.answered = True
        self._write()

    def forget(self, app: str, generation: int) -> None:
        """Strike a copy that is over."""
        if self.find(app, generation) is not None:
            del self._copies[app]
            self._write()

    def _choose(self, app: str) -> int:
        given = {copy.port for copy in self._copies.values()}
        family = socket.AF_INET6 if ":" in self._ip else socket.AF_INET
        for _ in range(_TRIES):
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                try:
                    probe.bind((self._ip, 0))
                except OSError as error:
                    raise StartError(f"no free port for {app}: {error.strerror or error}") from None
                port: int = probe.getsockname()[1]
            if port not in given:
                return port
        raise StartError(f"no free port for {app}")

    def _write(self) -> None:
        try:
            write_atomic(self._path, msgspec.json.encode(list(self._copies.values())))
        except OSError as error:
            # As with the agent's other book: apps are worth more than the record of them.
            log.error("cannot write %s: %s", self._path, error)  # noqa: TRY400
