"""Nodes as machines of a cloud: each is made, found again and destroyed by its name. Shell of the agents.

Rules:
1. The book names order and port before the cloud is asked. The machine's name follows from the order, so that a
   repeated creation, after a crash too, finds what the first one made.
2. A node is named after its machine's address, which only the cloud knows: `create` waits for it, bounded. The agent
   finds the same address by itself (`agents.own_address`).
3. What carries our owner and is no living order of the book is destroyed, at each look: half-made machines, second
   ones, those whose destruction failed, and interfaces without a machine.
4. A machine that the cloud calls stopped or gone, or does not list twice in a row, has ended. One that it calls failed
   has, too, unless its agent has answered: clouds also call so what runs and could not be changed.
5. A node that is parked is shut down and keeps its address; its end is told when the cloud has accepted that, because
   it takes minutes and the platform stops in seconds.
"""

import asyncio
import logging
from collections.abc import Awaitable, Collection
from pathlib import Path
from typing import Literal, NamedTuple

from agents.cloud_calls import (
    DESTROY_WITHIN_S,
    LIST_WITHIN_S,
    MAKE_WITHIN_S,
    SIGNAL_WITHIN_S,
    CloudCalls,
)
from agents.cloud_init import render_user_data
from agents.machines import CloudAwayError, CloudError, Machine, MachinePlan, Naming
from agents.node_book import Entry, NodeBook, answers
from agents.provider import CreateError, OnNodeAnswer, OnNodeExit, OnNodeRestart
from agents.settings import PoolConfig
from agents.state import Found
from sdk.contract.ids import node_id, split_node_id
from sdk.contract.orders import NodeOrder

log = logging.getLogger("watchkeep.cloud")

_KILLED = -9
#: Bound of parking a node: the platform stops in 10 s, and what was not told to stop by then is found the next time.
PARK_WITHIN_S = 6.0
#: Bound of the first list: the provisioner says nothing before, and is found silent after 10 s. The next look, 10 s
#: later, makes up for a list that took longer.
ADOPT_WITHIN_S = 8.0
#: Looks in a row without a machine until it counts as gone: lists of a cloud lag behind by seconds.
_MISSES_MAX = 2


class Pace(NamedTuple):
    """How often the cloud is asked, and for how long something is waited for; all in seconds."""

    #: Between two looks at all machines. Azure allows 12,000 reads an hour and wants one for each machine.
    look_every_s: float = 30.0
    #: Between two looks while an address, a stop or an end is waited for.
    look_again_s: float = 5.0
    #: For the address of a new machine: most have it at once, all within a minute.
    address_within_s: float = 180.0
    #: For a destroyed machine to leave the list; then its end is told, and the looks go on destroying it.
    end_within_s: float = 300.0
    #: Between two questions whether an agent answers, and how long it is asked: more than a machine may take to
    #: register (600 s), after which the planner ends it.
    ask_again_s: float = 1.0
    answer_within_s: float = 900.0


class CloudProvider:
    """Makes nodes out of machines."""

    def __init__(
        self, config: PoolConfig, calls: CloudCalls, naming: Naming, pace: Pace | None = None
    ) -> None:
        self.on_exit: OnNodeExit = lambda *_: None
        self.on_answer: OnNodeAnswer = lambda *_: None
        self.on_restart: OnNodeRestart = lambda *_: None
        self._config = config
        self._calls = calls
        self._naming = naming
        self._pace = pace or Pace()
        self._book = NodeBook(Path(config.data_dir) / "pools" / config.pool / "nodes.json", config)
        #: Orders whose node was created or adopted, with the looks in a row that did not see its machine.
        self._living: dict[int, int] = {}
        #: Those of them whose agent has answered.
        self._answered: set[int] = set()
        #: Machines that are being destroyed, by id, and until when that is believed.
        self._ending: dict[str, float] = {}
        #: Orders whose end is to be told when their machine is gone.
        self._condemned: set[int] = set()
        self._looked_at_s: float | None = None
        self._looking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def adopt(self) -> list[Found]:
        """Compare the book with the cloud; if that does not answer, the book counts."""
        try:
            seen: list[Machine] | None = await self._list(ADOPT_WITHIN_S)
        except CloudError as error:
            log.warning("the machines of pool %s cannot be listed: %s", self._config.pool, error)
            seen = None
        found = []
        for entry in self._book.entries.values():
            status = self._status_of(entry, seen)
            if status == "alive":
                self._watch(entry)
            elif status == "dead":
                entry.state = "ended"
            found.append(Found(str(entry.order), entry.order, status, entry.node))
        self._book.write()
        if seen is not None:
            self._sweep(seen)
        return found

    async def create(self, order: int, wish: NodeOrder | None) -> tuple[str, int]:
        """Make the machine of an order, or find or start it, and wait for its address. There is no pid."""
        entry = self._book.entries.get(order)
        if entry is not None and order in self._living:
            return entry.node, 0
        if entry is None:
            if wish is None:
                raise CreateError(f"order {order} is not known here")
            entry = Entry(order, "", self._book.take_port(wish.port_floor, is_here=False), wish.slots)
            self._book.entries[order] = entry
        elif entry.state == "ended":
            raise CreateError(f"{entry.node or f'the node of order {order}'} has ended before")
        entry.state = "made"
        self._book.write()
        try:
            entry.node = await self._make_node(entry)
        except (CloudError, ValueError) as error:
            # Whatever was made of it is none of a living order, and goes.
            entry.state = "ended"
            self._book.write()
            self._begin(self._look())
            raise CreateError(f"cannot make the machine {self._naming.name_of(order)}: {error}") from None
        self._book.write()
        self._watch(entry)
        return entry.node, 0

    async def stop(self, order: int) -> None:
        """Shut the machine down: systemd ends the agent, which stops its apps with grace."""
        entry = self._book.entries.get(order)
        if entry is None or order not in self._living:
            return
        entry.state = "parked"
        self._book.write()
        reason = "its machine was told to shut down"
        try:
            async with asyncio.timeout(PARK_WITHIN_S):
                machine = await self._describe(order)
                if machine is not None and machine.state in {"coming", "running"}:
                    await self._calls.call(lambda it: it.stop(machine.id), SIGNAL_WITHIN_S)
        except (CloudError, TimeoutError) as error:
            reason = f"its machine may run on: {str(error) or f'no answer within {PARK_WITHIN_S:g} s'}"
            log.warning("%s is parked, but %s", entry.node, reason)
        self._tell(entry, 0, reason)

    async def destroy(self, order: int) -> None:
        """Destroy the machine; the end is told when the cloud does not list it any more, or after a bound."""
        entry = self._book.entries.get(order)
        if entry is None:
            return
        was_ended = entry.state == "ended"
        entry.state = "ended"
        self._book.write()
        if order in self._living and order not in self._condemned:
            self._condemned.add(order)
            self._begin(self._end(entry))
        elif not was_ended:
            self._begin(self._look())

    async def forget(self, order: int) -> None:
        """Strike an ended node from the book; what may be left of its machine is then nobody's, and goes."""
        if order not in self._living and self._book.entries.pop(order, None) is not None:
            self._book.write()

    async def tidy(self) -> None:
        """Look at all machines when it is time; not waited for."""
        now_s = asyncio.get_running_loop().time()
        if self._looked_at_s is None or now_s - self._looked_at_s >= self._pace.look_every_s:
            self._looked_at_s = now_s
            self._look_soon()

    def close(self) -> None:
        """Let go of the cloud; the nodes run on."""
        for task in self._tasks:
            task.cancel()
        self._calls.close()

    def _status_of(
        self, entry: Entry, seen: Collection[Machine] | None
    ) -> Literal["alive", "dead", "parked"]:
        """What became of a node while nobody looked. `parked` is created again: found, started or made."""
        if entry.state == "ended":
            return "dead"
        # The last provisioner ended before it knew the address, or perhaps before it asked for a machine.
        if entry.state == "parked" or not entry.node:
            return "parked"
        if seen is None:
            return "alive"
        machine = self._machine_in(seen, entry.order)
        return "alive" if machine is not None and machine.state in {"coming", "running", "failed"} else "dead"

    async def _list(self, within_s: float | None = None) -> list[Machine]:
        return await self._calls.call(lambda it: it.list_machines(), within_s or LIST_WITHIN_S)

    async def _describe(self, order: int) -> Machine | None:
        """The machine of an order, None if there is none that is not gone."""
        return self._machine_in(await self._calls.call(lambda it: it.describe(order), LIST_WITHIN_S), order)

    def _machine_in(self, seen: Collection[Machine], order: int) -> Machine | None:
        """The machine of an order; of several, made by a repeated call, the one that the node is named after."""
        entry = self._book.entries.get(order)
        ip = split_node_id(entry.node)[0] if entry is not None and entry.node else ""
        there = [it for it in seen if it.order == order and it.state != "gone"]
        return min(there, key=lambda it: (it.ip != ip, it.id), default=None)

    async def _make_node(self, entry: Entry) -> str:
        """Make, find or start the machine of an order; the node's id.

        Raises:
            CloudError, ValueError: it cannot be, or is not wanted any more.
        """
        node = node_id(await self._make(entry), entry.port)
        if entry.state != "made":
            raise CloudError("it was destroyed while it was being made")
        if entry.node and entry.node != node:
            raise CloudError(f"{entry.node} came back as {node}: its address is not its own")
        return node

    async def _make(self, entry: Entry) -> str:
        """Make, find or start the machine of an order; its address.

        Raises:
            CloudError: there is none within the bound.
            ValueError: what it is to be told is too long.
        """
        user_data = render_user_data(self._config, order=entry.order, port=entry.port, slots=entry.slots)
        assert self._config.cloud is not None
        tags = {**self._config.cloud.tags, **self._naming.tags_of(entry.order)}
        plan = MachinePlan(self._naming.name_of(entry.order), tags, user_data)
        if entry.node and await self._describe(entry.order) is None:
            # Another one would have another address, and be another node.
            raise CloudError("it is gone")
        await self._calls.call(lambda it: it.make(plan), MAKE_WITHIN_S)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._pace.address_within_s
        while True:
            machine = await self._describe(entry.order)
            if machine is not None and machine.state == "failed":
                raise CloudError("the cloud calls the machine failed")
            if machine is not None and machine.state == "running" and machine.ip:
                return machine.ip
            if machine is not None and machine.state == "stopped":
                await self._calls.call(lambda it, id_=machine.id: it.start(id_), SIGNAL_WITHIN_S)  # type: ignore[misc]
            if loop.time() >= until_s:
                raise CloudAwayError(f"it has no address after {self._pace.address_within_s:g} s")
            await asyncio.sleep(self._pace.look_again_s)

    def _watch(self, entry: Entry) -> None:
        """Its machine is looked at from now on, and its agent asked for its first answer."""
        self._living[entry.order] = 0
        self._begin(self._await_answer(entry))

    async def _await_answer(self, entry: Entry) -> None:
        """Ask the agent for its health until it answers once."""
        ip, port = split_node_id(entry.node)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._pace.answer_within_s
        while loop.time() < until_s:
            await asyncio.sleep(self._pace.ask_again_s)
            if entry.order not in self._living:
                return
            if await answers(ip, port, entry.node):
                self._answered.add(entry.order)
                self.on_answer(entry.order)
                return

    async def _end(self, entry: Entry) -> None:
        """Destroy a machine, see it go, and say so."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._pace.end_within_s
        reason = "destroyed"
        while True:
            try:
                machine = await self._describe(entry.order)
                if machine is None:
                    break
                if machine.id not in self._ending:
                    await self._destroy(machine)
                    continue
            except CloudError as error:
                log.warning("%s is not destroyed yet: %s", entry.node, error)
            if loop.time() >= until_s:
                reason = (
                    f"not seen to end within {self._pace.end_within_s:g} s; the looks go on destroying it"
                )
                break
            await asyncio.sleep(self._pace.look_again_s)
        self._tell(entry, _KILLED, reason)

    async def _destroy(self, machine: Machine) -> None:
        """Destroy one, once; it stays among the ending until a list shows it gone, or the cloud took too long."""
        self._ending[machine.id] = (
            asyncio.get_running_loop().time() + DESTROY_WITHIN_S + self._pace.end_within_s
        )
        try:
            await self._calls.call(lambda it: it.destroy(machine.id), DESTROY_WITHIN_S)
        except CloudError:
            self._ending.pop(machine.id, None)
            raise

    def _tell(self, entry: Entry, code: int | None, reason: str) -> None:
        if self._living.pop(entry.order, None) is None:
            return
        self._condemned.discard(entry.order)
        self._answered.discard(entry.order)
        if entry.state != "parked":
            entry.state = "ended"
        self._book.write()
        self.on_exit(entry.order, code, reason)

    def _look_soon(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = self._begin(self._look())

    async def _look(self) -> None:
        """Compare all machines with what we know: ends that nobody told, and leftovers."""
        before = set(self._living)
        try:
            seen = await self._list()
        except CloudError:
            return
        for order in before & self._living.keys() - self._condemned:
            machine = self._machine_in(seen, order)
            self._living[order] = self._living[order] + 1 if machine is None else 0
            ended = ""
            if machine is None and self._living[order] >= _MISSES_MAX:
                ended = "its machine is gone, and not by us"
            elif machine is not None and machine.state == "stopped":
                ended = "its machine was stopped, and not by us (preempted, or by hand)"
            elif machine is not None and machine.state == "failed" and order not in self._answered:
                ended = "the cloud calls its machine failed"
            entry = self._book.entries[order]
            if ended and entry.state != "parked":
                self._tell(entry, None, ended)
        self._sweep(seen)

    def _sweep(self, seen: Collection[Machine]) -> None:
        """Destroy what no living order names, and second machines of one that does."""
        now_s = asyncio.get_running_loop().time()
        there = {it.id for it in seen if it.state != "gone"}
        self._ending = {
            id_: until_s for id_, until_s in self._ending.items() if id_ in there and now_s < until_s
        }
        wanted = {order for order, entry in self._book.entries.items() if entry.state != "ended"}
        for machine in seen:
            if machine.state == "gone" or machine.id in self._ending or machine.order in self._condemned:
                continue
            if machine.order in wanted and self._machine_in(seen, machine.order) == machine:
                continue
            log.warning("destroying the leftover machine %s (%s)", machine.name, machine.id)
            self._begin(self._remove(machine))
        self._begin(self._sweep_parts())

    async def _remove(self, machine: Machine) -> None:
        try:
            await self._destroy(machine)
        except CloudError as error:
            log.warning("the leftover machine %s stays until the next look: %s", machine.name, error)

    async def _sweep_parts(self) -> None:
        """Remove parts of machines that no living order names."""
        try:
            parts = await self._calls.call(lambda it: it.list_parts(), LIST_WITHIN_S)
            # Asked after the list: whoever made a part by then stood in the book before.
            names = {
                self._naming.name_of(it.order) for it in self._book.entries.values() if it.state != "ended"
            }
            for part in parts:
                if part.machine not in names:
                    log.warning("removing the leftover part %s", part.name)
                    await self._calls.call(lambda it, id_=part.id: it.destroy_part(id_), DESTROY_WITHIN_S)  # type: ignore[misc]
        except CloudError as error:
            log.warning("leftover parts stay until the next look: %s", error)

    def _begin(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
