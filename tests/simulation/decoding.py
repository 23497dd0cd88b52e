"""Each record of the log decoded once, whoever reads it. Part of the simulator.

Every worker, each of its starts and several judges read the same log. What they get is a value that nobody changes, so
they may share it; the last check of a run decodes everything anew.
"""

from sdk.contract.codec import Recorded, decode_event


class Decoding:
    """`sdk.contract.codec.decode_event` with a memory, for one run."""

    def __init__(self) -> None:
        self._known: dict[bytes | None, Recorded] = {}

    def decode_event(self, value: bytes | None) -> Recorded:
        """The event in a record of the log.

        Raises:
            DecodeError: it is not one of ours.
        """
        known = self._known.get(value)
        if known is None:
            known = self._known[value] = decode_event(value)
        return known
