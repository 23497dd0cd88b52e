"""Docker Swarm next to which Watchkeep is measured."""
