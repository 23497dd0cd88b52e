"""The simulated provisioner's hands: nodes by order. Part of the simulator."""

from typing import TYPE_CHECKING, Literal

from agents import inputs as i
from agents.state import Found, Identity, Image
from sdk.contract.orders import AppOrder, NodeOrder
from tests.simulation.hands import Hands
from tests.simulation.loop import Machine
from tests.simulation.machines import IP, POOL, Agent, Node

if TYPE_CHECKING:
    from tests.simulation.world import World

# ruff: noqa: ARG002  # hands have one signature; a simulated one does not need all of it


class Provider(Hands):
    """The provisioner's hands: nodes by order. With `supervised` an agent is restarted in place, unnoticed."""

    def __init__(self, world: "World", *, supervised: bool, pool: str = POOL, ip: str = IP) -> None:
        self.world, self.pool, self.ip = world, pool, ip
        self.supervised = supervised
        self.image = Image()
        self.machine = Machine(world.loop, "provisioner")
        self.nodes: dict[int, Node] = {}
        self.port_floor = 8_101
        self.agent: Agent | None = None
        self.fails = False
        self.mute = False

    def boot(self) -> None:
        """Start the provisioner."""
        identity = Identity("pool", self.pool, 0, self.ip, 0, self.pool, 0, ["process"], "boot")
        if self.agent is None or not self.agent.alive:
            self.agent = Agent(self.world, self.machine, identity, self)

    def adopt(self, agent: Agent) -> list[Found]:
        """The nodes in the book; what is left of a dead one is ended."""
        found = []
        for order, node in self.nodes.items():
            is_alive = self._lives(node)
            if not is_alive:
                node.gone = not node.parked
                node.end_group()
            status: Literal["alive", "dead", "parked"] = "parked" if node.parked else "dead"
            found.append(Found(str(order), order, "alive" if is_alive else status, node.name, 1))
        return found

    def _lives(self, node: Node) -> bool:
        return (
            not node.gone
            and not node.parked
            and (self.supervised or (node.agent is not None and node.agent.alive))
        )

    def agent_ended(self, node: Node) -> None:
        """The agent of a node has died."""
        if node.gone:
            return
        if self.supervised and not node.parked:
            self.world.loop.after(self.world.loop.chance.randint(500, 6_000), node.boot)
            return
        self._hear(node)

    def _hear(self, node: Node) -> None:
        if self.agent is not None:
            self.agent.after(3, lambda: self._finish(node))

    def _finish(self, node: Node) -> None:
        node.gone = not node.parked
        node.end_group()
        order, agent = node.identity.order, self.agent
        if agent is not None:
            agent.after(5, lambda: agent.feed(i.Exited(str(order), order, -9, "killed")))

    def spawn(self, agent: Agent, key: str, epoch: int, order: AppOrder | NodeOrder | None) -> None:
        """Create a node."""
        if epoch in self.nodes and self._lives(self.nodes[epoch]):
            agent.feed(i.Spawned(key, epoch, 1, self.nodes[epoch].name))
            return
        if epoch in self.nodes and self.nodes[epoch].parked:
            self.nodes[epoch].parked = False
            self.nodes[epoch].boot()
            agent.feed(i.Spawned(key, epoch, 1, self.nodes[epoch].name))
            return
        if epoch in self.nodes or not isinstance(order, NodeOrder) or self.fails:
            agent.feed(i.Exited(key, epoch, 127, "cannot be created"))
            return
        port = max(self.port_floor, order.port_floor)
        self.port_floor = port + 1
        node = self.nodes[epoch] = Node(self.world, self, order=epoch, port=port, slots=order.slots)
        self.world.nodes[node.name] = node
        if not self.mute:
            node.boot()
        agent.feed(i.Spawned(key, epoch, 1, node.name))

    def stop(self, agent: Agent, key: str, epoch: int) -> None:
        """SIGTERM to its agent, which stops its apps: it is parked."""
        node = self.nodes.get(epoch)
        if node is not None and self._lives(node):
            node.parked = node.was_parked = True
            node.disturbed_ms = self.world.loop.now_ms
            if node.agent is None or not node.agent.alive:
                self._hear(node)
                return
            node.agent.resume()
            node.agent.feed(i.StopAsked())

    def kill(self, agent: Agent, key: str, epoch: int) -> None:
        """Destroy a node; one that cannot be reached is tried again."""
        node = self.nodes.get(epoch)
        if node is None or node.gone:
            return
        if node.parked:
            self._finish(node)
            return
        if node.machine.is_cut and self.supervised:
            agent.after(1_000, lambda: self.kill(agent, key, epoch))
            return
        node.disturbed_ms = self.world.loop.now_ms
        self._finish(node)

    def forget(self, key: str, epoch: int) -> None:
        """Strike an ended node from the book."""
        node = self.nodes.get(epoch)
        if node is not None and node.gone:
            del self.nodes[epoch]
