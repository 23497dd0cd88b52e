"""What the world itself knows and no watcher can: who was able to beat and to append, and for how long."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.machines import Copy, Node
    from tests.simulation.world import World


class Truth:
    """Questions that the checkers ask the world."""

    world: "World"

    def able_ms(self, node: "Node") -> int:
        """How long the node's agent has been able to append, -1 if it is not."""
        world, agent = self.world, node.agent
        mute = agent is None or not agent.alive or agent.paused or node.machine.is_cut or not world.broker_up
        # One late request after the other holds up all that comes behind, for longer than the limit if need be.
        mute = mute or world.broker.late_share > 0
        if mute or any(ghost.alive for ghost in node.haunted_by):
            return -1
        return world.loop.now_ms - max(node.disturbed_ms, world.broker_disturbed_ms)

    def beats_ms(self, copy: "Copy") -> int:
        """How long a copy has been able to beat and its agent to say so."""
        if not copy.alive or copy.paused or copy.hung or copy.behaviour == "mute":
            return -1
        if copy.topic and self.world.topics_cut:
            return -1
        return min(self.able_ms(copy.node), self.calm_ms(copy))

    def calm_ms(self, copy: "Copy") -> int:
        """How long nothing has been done to a copy, or to what its beats go through if not through its agent."""
        disturbed_ms = copy.disturbed_ms
        if copy.topic:
            cut_ms = max(self.world.topics_disturbed_at, default=0)
            disturbed_ms = max(disturbed_ms, cut_ms, self.world.broker_disturbed_ms)
        return self.world.loop.now_ms - disturbed_ms

    def copy_of(self, app: str, generation: int) -> "Copy | None":
        """The living process of a generation."""
        for node in self.world.nodes.values():
            copy = node.book.get(app)
            if copy is not None and copy.alive and copy.generation == generation:
                return copy
        return None
