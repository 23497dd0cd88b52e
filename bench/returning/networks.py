"""How the nodes of the table are cut off: by network namespaces where they can be had, else by a proxy. Shell."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, Protocol

from bench.auditing.cuts import Cuts, create_cut_broker
from bench.results import BenchError
from bench.returning.spaces import HUB_IP, Hub
from streams.local.broker import LocalBroker
from streams.local.child import ChildSpec
from streams.local.jars import ensure_jars
from streams.local.ports import find_free_ports
from streams.local.processes import run_mark
from streams.local.rig import Rig
from streams.settings import Settings

Ways = Literal["auto", "namespaces", "proxy"]
_PROVISIONER: Final = "agents.provisioner"
_SPACED: Final = "bench.returning.spaced"


class Network(Protocol):
    """Where platforms live whose nodes can be cut off."""

    #: How that is done, for people.
    words: str

    def create_rig(self, folder: Path) -> Rig:
        """A platform in it."""
        ...

    def cut(self, pid: int) -> None:
        """Cut off the node of this agent."""
        ...

    def heal(self, pid: int) -> None:
        """Let it be heard again."""
        ...


@contextlib.contextmanager
def cutting(folder: Path, ways: Ways) -> Iterator[Network]:
    """A network with a running broker; this thread, and what it starts, is in it.

    Raises:
        BenchError: network namespaces are asked for and cannot be had.
    """
    with contextlib.ExitStack() as stack:
        if ways != "proxy":
            # There is no way out of the hub.
            ensure_jars(Settings().kafka_version)
            try:
                hub = stack.enter_context(Hub())
            except BenchError as error:
                if ways == "namespaces":
                    raise
                why = f" ({error})"
            else:
                yield stack.enter_context(_spaced(folder, hub))
                return
        else:
            why = ""
        yield stack.enter_context(_proxied(folder, why))


class _Spaced:
    words = "network namespaces"

    def __init__(self, hub: Hub, broker: LocalBroker, via: str) -> None:
        self._broker = broker
        self._via = via
        self.cut = hub.cut
        self.heal = hub.heal

    def create_rig(self, folder: Path) -> Rig:
        return _SpacedRig(folder, bootstrap=self._broker.bootstrap, via=self._via)


class _SpacedRig(Rig):
    """A rig whose nodes have a network namespace each."""

    def argv_of(self, child: ChildSpec) -> list[str]:
        return [_SPACED if word == _PROVISIONER else word for word in child.argv]


@contextlib.contextmanager
def _spaced(folder: Path, hub: Hub) -> Iterator[_Spaced]:
    port, controller_port = find_free_ports(2)
    via = f"{HUB_IP}:{find_free_ports(1, HUB_IP)[0]}"
    broker = LocalBroker(folder / "kafka", port=port, controller_port=controller_port, bridge=via)
    try:
        broker.start()
        yield _Spaced(hub, broker, via)
    finally:
        broker.kill()


class _Proxied:
    def __init__(self, broker: LocalBroker, cuts: Cuts, via: str, why: str) -> None:
        self.words = f"a TCP proxy before the broker{why}"
        self._broker = broker
        self._cuts = cuts
        self._via = via
        self.heal = cuts.heal

    def create_rig(self, folder: Path) -> Rig:
        return Rig(folder, bootstrap=self._broker.bootstrap, via=self._via)

    def cut(self, pid: int) -> None:
        self._cuts.cut(pid, "both")


@contextlib.contextmanager
def _proxied(folder: Path, why: str) -> Iterator[_Proxied]:
    broker, ports = create_cut_broker(folder / "kafka")
    try:
        broker.start()
        mark = run_mark(folder / "proxy")
        with Cuts(port=ports.proxy, broker_port=ports.behind, mark=mark) as cuts:
            yield _Proxied(broker, cuts, f"127.0.0.1:{ports.proxy}", why)
    finally:
        broker.kill()
