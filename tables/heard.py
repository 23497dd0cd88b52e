"""What a watch keeps of a source: its open window, a verdict on it, its newest report and hello. Pure.

None of these can be part of a cycle, so the collector need not go through them: there may be a million.
"""

import msgspec

from sdk.contract.heartbeats import Hello, PoolReport, Report
from sdk.contract.policy import Policy
from tables.bridged import Bridging
from tables.sameness import Copy


class Session(msgspec.Struct, gc=False):
    """The open window of one source."""

    source: str
    epoch: int
    #: Clock and offset of its last beat, or of where waiting for one began.
    last_ms: int
    last_offset: int
    #: Of a source whose topic a bridge reads.
    bridging: Bridging | None = None
    #: The claim whose hello began the epoch; empty for what says none.
    claim: str = ""

    def limit_ms(self, policy: Policy) -> int:
        """Silence after which it is found: its own limit, while somebody expects it under one, else the policy's."""
        bridging = self.bridging
        own_ms = bridging.limit_ms if bridging is not None and not bridging.is_over else 0
        return own_ms or policy.silence_limit_ms


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A session that a tick closed; true until a beat of its epoch."""

    epoch: int
    from_offset: int
    until_offset: int
    silent_ms: int
    postponed_ms: int
    #: The limit that it is over; 0 in what was saved before there was another than the policy's.
    limit_ms: int = 0


class Reported(msgspec.Struct, frozen=True, gc=False):
    """The newest report of a reporter, with its place and the clock there."""

    report: Report | PoolReport
    offset: int
    clock_ms: int
    #: Apps in it whose beat was not fresh.
    late: tuple[Copy, ...] = ()


class Greeted(msgspec.Struct, frozen=True, gc=False):
    """The newest hello of a reporter, with its place and the clock there."""

    hello: Hello
    offset: int
    clock_ms: int
