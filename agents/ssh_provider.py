"""Nodes as processes on other machines, over ssh. Shell of the agents.

On each host a caretaker (`agents.caretaker`) has the process provider and its book. Here is decided which order goes to
which host, and what is to become of it. Rules:
1. The book here names the host of an order before the host is asked, so an order is never carried out on two.
2. That a host cannot be reached is no end of its nodes. They have ended when their host says so.
3. What was to be destroyed while its host was away is destroyed when it is back. What a host has and no order here
   names (the answer to its creation was lost) is a leftover, and destroyed too.
4. When the platform stops, a node whose host is away is let go: it lives on, and the next start finds it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec

from agents.provider import CreateError, OnNodeAnswer, OnNodeExit, OnNodeRestart
from agents.settings import PoolConfig
from agents.ssh_book import Entry, SshBook, adopt_seen, adopt_unseen
from agents.ssh_host import CREATE_WITHIN_S, Host, RefusedError
from agents.ssh_hosts import HostConfig, HostsError, read_hosts
from agents.ssh_wire import HostAwayError, Wire
from agents.ssh_words import Answered, Ended, Restarted, Said
from agents.state import Found
from sdk.contract.orders import NodeOrder

log = logging.getLogger("watchkeep.ssh")

#: How long a provisioner that starts waits for hosts: one that is well is there in 0.5 s, and the provisioner itself is
#: found silent after 10 s.
ADOPT_WITHIN_S = 4.0
#: How long the creation of a node waits for its host.
REACH_WITHIN_S = 8.0

#: Connects to a host and runs a shell command there.
ConnectTo = Callable[[HostConfig, str], Awaitable[Wire]]


class SshProvider:
    """Makes nodes on other machines."""

    def __init__(self, config: PoolConfig, hosts: list[HostConfig], connect: ConnectTo) -> None:
        self.on_exit: OnNodeExit = lambda *_: None
        self.on_answer: OnNodeAnswer = lambda *_: None
        self.on_restart: OnNodeRestart = lambda *_: None
        self._config = config
        path = Path(config.data_dir) / "pools" / config.pool / "ssh.json"
        self._book = SshBook(path, f"{config.prefix}-{config.pool}")
        #: Orders whose end is to be told.
        self._living: set[int] = set()
        #: Orders whose host is being asked to create them.
        self._creating: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = False
        self._is_settling = False
        self._found: dict[str, list[Found]] = {}
        self._hosts = {it.name: self._create_host(it, connect) for it in hosts}

    def _create_host(self, host: HostConfig, connect: ConnectTo) -> Host:
        config = self._config
        there = msgspec.structs.replace(
            config,
            bootstrap=(config.ssh.bootstrap if config.ssh else "") or config.bootstrap,
            ip=host.node_ip,
            port_base=host.port_base or config.port_base,
            provider="process",
            ssh=None,
        )
        return Host(
            host,
            there,
            self._book.folder,
            partial(connect, host),
            on_found=partial(self._on_found, host.name),
            on_said=self._on_said,
        )

    # --- the port -----------------------------------------------------------------------------------

    async def adopt(self) -> list[Found]:
        """Compare the book with what the hosts have; of hosts that are away the book counts."""
        self._book.write()
        await self._open()
        found = []
        for entry in list(self._book.entries.values()):
            host = self._hosts.get(entry.host)
            there = self._found.get(entry.host)
            if there is not None:
                status = adopt_seen(entry, next((it for it in there if it.epoch == entry.order), None))
            elif host is not None:
                status = adopt_unseen(entry)
            else:
                log.error("%s: its host %s is not in the hosts file any more", entry.node, entry.host)
                status = adopt_seen(entry, None)
            if status == "alive":
                self._living.add(entry.order)
            elif status is None and there is not None:
                # The host never heard of it, so it may go to any host.
                del self._book.entries[entry.order]
            if status is not None:
                found.append(Found(str(entry.order), entry.order, status, entry.node, entry.pid))
        self._book.write()
        self._settle_all()
        return found

    async def create(self, order: int, wish: NodeOrder | None) -> tuple[str, int]:
        """Start an agent on the host with the fewest nodes, or on its old one."""
        await self._open()
        self._settle_all()
        entry = self._book.entries.get(order)
        if entry is not None and order in self._living and order not in self._creating:
            return entry.node, entry.pid
        if entry is None:
            if wish is None:
                raise CreateError(f"order {order} is not known here")
            entry = Entry(order, (await self._choose()).name)
            self._book.entries[order] = entry
        elif entry.state in ("ended", "condemned"):
            raise CreateError(f"{entry.node or 'the node'} of order {order} has ended before")
        host = self._hosts.get(entry.host)
        if host is None:
            entry.state = "ended"
            self._book.write()
            raise CreateError(f"the host {entry.host} of {entry.node} is not in the hosts file any more")
        entry.state = "making"
        self._book.write()
        await self._make(host, entry, wish)
        return entry.node, entry.pid

    async def stop(self, order: int) -> None:
        """Ask the agent to stop its apps with grace; one whose host is away is let go."""
        entry = self._book.entries.get(order)
        host = self._hosts.get(entry.host) if entry is not None else None
        if entry is None or host is None or order not in self._living:
            return
        entry.state = "parked"
        self._book.write()
        try:
            await host.call("stop", order)
        except (HostAwayError, RefusedError) as error:
            self._let_go(entry, str(error))

    async def destroy(self, order: int) -> None:
        """End a node's process group and what else is left of it; on a host that is away, when it is back."""
        entry = self._book.entries.get(order)
        if entry is None or entry.state == "ended":
            return
        host = self._hosts.get(entry.host)
        if host is None:
            self._tell(entry, None, "its host is not in the hosts file any more")
            return
        if entry.state == "parked" and order in self._living and not host.is_up:
            self._let_go(entry, host.problem)
            return
        entry.state = "condemned"
        self._book.write()
        await self._destroy(host, entry)

    async def forget(self, order: int) -> None:
        """Strike an ended node from the book here and there; its directory stays."""
        if order in self._living:
            return
        entry = self._book.entries.pop(order, None)
        if entry is not None:
            self._book.write()
            host = self._hosts.get(entry.host)
            if host is not None and host.is_up:
                await self._ask(host, "forget", order)

    async def tidy(self) -> None:
        """Let the hosts set full logs aside; one that does not answer is seen by that to be away."""
        for host in self._hosts.values():
            if host.is_up:
                self._begin(self._ask(host, "tidy"))

    async def close(self) -> None:
        """Let go of the hosts; their nodes live on."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(host.close() for host in self._hosts.values()))

    # --- what hosts say -----------------------------------------------------------------------------

    def _on_found(self, name: str, found: list[Found]) -> None:
        """A host is there, or is there again."""
        self._found[name] = found
        if self._is_settling:
            self._settle_soon(name)

    def _on_said(self, said: Said) -> None:
        match said:
            case Ended(order, code, reason) if order in self._book.entries:
                self._tell(self._book.entries[order], code, reason)
            case Answered(order) if order in self._book.entries:
                self.on_answer(order)
            case Restarted(order, node, pid) if order in self._book.entries:
                self._note_restart(self._book.entries[order], node, pid)

    def _settle_all(self) -> None:
        """From now on what hosts find is compared with what is known; what they found before too."""
        if not self._is_settling:
            self._is_settling = True
            for name in self._found:
                self._settle_soon(name)

    def _settle_soon(self, name: str) -> None:
        # What is made from now on is not in the host's list, and not gone for that.
        orders = [
            it.order
            for it in self._book.entries.values()
            if it.host == name and it.order not in self._creating
        ]
        self._begin(self._settle(self._hosts[name], orders, self._found[name]))

    async def _settle(self, host: Host, orders: list[int], found: list[Found]) -> None:
        """Bring a host that is there again, and what is known here of these orders, to one."""
        there = {it.epoch: it for it in found}
        for order in orders:
            entry = self._book.entries.get(order)
            if entry is not None:
                await self._settle_one(host, entry, there.get(order))
        for left in found:
            if left.epoch not in self._book.entries:
                log.info("host %s: %s of order %d is a leftover", host.name, left.name, left.epoch)
                await self._ask(host, "destroy", left.epoch)
                await self._ask(host, "forget", left.epoch)

    async def _settle_one(self, host: Host, entry: Entry, there: Found | None) -> None:
        status = there.status if there is not None else "dead"
        if entry.state == "making" or (entry.state in ("condemned", "ended") and status != "dead"):
            # Nobody waits for the answer any more: its order is withdrawn, or will be asked for anew.
            if entry.state == "making":
                entry.state = "condemned"
            await self._destroy(host, entry)
        elif status == "dead" or there is None:
            if entry.order in self._living or entry.state == "condemned":
                self._tell(entry, there.exit_code if there else None, "ended while its host was away")
        elif status == "parked" and entry.order in self._living:
            if entry.state == "made" and self._config.restart_agents:
                await self._start_again(host, entry)
            else:
                self._tell(entry, None, "ended while its host was away")
        elif status == "alive" and there.pid != entry.pid:
            self._note_restart(entry, there.name, there.pid)

    async def _start_again(self, host: Host, entry: Entry) -> None:
        """Its agent died while the connection was lost; its apps may live and are adopted."""
        try:
            reply = await host.call("create", entry.order, within_s=CREATE_WITHIN_S)
        except HostAwayError:
            return
        except RefusedError as error:
            self._tell(entry, None, str(error))
        else:
            self._note_restart(entry, reply.node, reply.pid)

    # --- parts --------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Connect to all hosts, once."""
        if not self._is_open:
            self._is_open = True
            for host in self._hosts.values():
                host.open()
            await self._reach(list(self._hosts.values()), ADOPT_WITHIN_S)

    async def _reach(self, hosts: list[Host], within_s: float) -> None:
        await asyncio.gather(*(host.wait_tried(within_s) for host in hosts))

    async def _choose(self) -> Host:
        """The host with the fewest nodes among those that answer and have room; the file's order breaks ties."""
        if not any(it.is_up for it in self._roomy()):
            await self._reach(self._roomy(), REACH_WITHIN_S)
        # Counted after the wait, and taken before the next: others choose meanwhile.
        counts = self._book.count_nodes(self._hosts)
        roomy = self._roomy()
        if not roomy:
            full = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise CreateError(f"every host has its most nodes ({full}): raise nodes_max or add a host")
        up = [it for it in roomy if it.is_up]
        if not up:
            why = "; ".join(f"{it.name}: {it.problem}" for it in roomy)
            raise CreateError(f"no host with room answers: {why}")
        return min(up, key=lambda it: counts[it.name])

    def _roomy(self) -> list[Host]:
        counts = self._book.count_nodes(self._hosts)
        return [it for it in self._hosts.values() if counts[it.name] < it.config.nodes_max]

    async def _make(self, host: Host, entry: Entry, wish: NodeOrder | None) -> None:
        """Have the node of an entry made; CreateError if that fails."""
        order = entry.order
        if wish is not None and host.config.slots:
            wish = msgspec.structs.replace(wish, slots=host.config.slots)
        self._creating.add(order)
        # Before the answer: the end of a node that ends at once is told right behind it.
        self._living.add(order)
        try:
            await host.wait_tried(REACH_WITHIN_S)
            reply = await host.call("create", order, wish, within_s=CREATE_WITHIN_S)
        except (HostAwayError, RefusedError) as error:
            self._living.discard(order)
            # An answer that was lost may belong to a node that lives.
            entry.state = "ended" if isinstance(error, RefusedError) else "condemned"
            self._book.write()
            raise CreateError(f"host {host.name}: {error}") from None
        finally:
            self._creating.discard(order)
        entry.node, entry.pid = reply.node, reply.pid
        if entry.state == "making":
            entry.state = "made"
        self._book.write()

    async def _destroy(self, host: Host, entry: Entry) -> None:
        try:
            reply = await host.call("destroy", entry.order)
        except HostAwayError as error:
            log.warning("%s is destroyed when host %s is back: %s", entry.node, host.name, error)
        except RefusedError as error:
            log.warning("%s cannot be destroyed on host %s: %s", entry.node, host.name, error)
        else:
            if not reply.is_living:
                self._tell(entry, None, "nothing was left of it")

    def _let_go(self, entry: Entry, why: str) -> None:
        """Take a node for stopped that cannot be asked: rule 4."""
        log.warning("%s is not stopped and lives on: %s", entry.node, why)
        entry.state = "made"
        self._living.discard(entry.order)
        self._book.write()
        self.on_exit(entry.order, None, "its host is away; it lives on")

    def _tell(self, entry: Entry, code: int | None, reason: str) -> None:
        """A node has ended."""
        if entry.state != "parked":
            entry.state = "ended"
        self._book.write()
        if entry.order in self._living:
            self._living.discard(entry.order)
            self.on_exit(entry.order, code, reason)

    def _note_restart(self, entry: Entry, node: str, pid: int) -> None:
        entry.node, entry.pid = node, pid
        self._book.write()
        self.on_restart(entry.order, node, pid)

    async def _ask(self, host: Host, what: str, order: int = 0) -> None:
        """A call whose failure is made up for at the next connection."""
        try:
            await host.call(what, order)
        except HostAwayError:
            return
        except RefusedError as error:
            log.warning("host %s: %s: %s", host.name, what, error)

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._note_done)

    def _note_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a fault of the provider", exc_info=error)


def create_ssh_provider(config: PoolConfig) -> SshProvider:
    """The provider with its connections.

    Raises:
        SystemExit: the hosts file is wrong; with a line that says what.
    """
    # Loaded here: asyncssh costs 0.3 s, and only a pool of this kind needs it.
    from agents.ssh_connection import connect

    if config.ssh is None:
        raise SystemExit(f"pool {config.pool}: the provider ssh needs a file of hosts, `ssh.hosts`")
    try:
        hosts = read_hosts(Path(config.ssh.hosts))
    except HostsError as error:
        raise SystemExit(str(error)) from None
    return SshProvider(config, hosts, connect)
