"""What a world may go on from, instead of beginning at nothing. Part of the simulator."""

from typing import Any, Protocol


class Beginning(Protocol):
    """A moment that a world goes on from."""

    now_ms: int
    #: First part of the topic names.
    prefix: str
    #: Names of the workers.
    workers: list[str]

    def create_witness(self, world: Any) -> Any:
        """What takes the place of the judges."""

    def arrange(self, world: Any) -> None:
        """Make what was there, before the first worker is started."""
