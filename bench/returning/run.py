"""All cells of the table on real platforms: one for each policy, at once, on one broker. Shell."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bench.auditing.recorded import decode_topics, read_records
from bench.returning.accepted import Acceptance
from bench.returning.cells import POLICIES, Cell, Policy, Stated, state_cell
from bench.returning.networks import Network, Ways, cutting
from bench.returning.platform import Observed, Platform, Say
from tests.simulation.log_rules import Finding


class Outcome(NamedTuple):
    """A cell: what it must come to and what it came to."""

    stated: Stated
    observed: Observed
    #: Reports that called the old copy running after the new one was placed; none of them counted.
    refused: int

    def differences(self) -> list[str]:
        """What is not as it is stated, in sentences."""
        stated, seen = self.stated, self.observed
        low, high = stated.together_ms
        found = [
            f"{what} is {is_so!r}, stated is {wanted!r}"
            for what, is_so, wanted in (
                ("the old copy's end", seen.old, stated.old),
                ("the new copy's home", seen.new, stated.new),
                ("the node's end", seen.node, stated.node),
            )
            if is_so != wanted
        ]
        if not low <= seen.together_ms <= high:
            found.append(f"two copies ran for {seen.together_ms} ms, stated is {low} to {high} ms")
        if seen.touched:
            found.append(f"neighbours were touched: {', '.join(seen.touched)}")
        return found


class Outcomes(NamedTuple):
    """Everything that a run has shown."""

    cells: dict[Cell, Outcome]
    #: What the logs have against the rule that one copy is accepted, and their other rules.
    findings: dict[Policy, list[Finding]]
    #: Records of the logs that were judged.
    events: int
    #: How nodes were cut off, in words.
    cuts: str


def run_cells(folder: Path, *, away_s: float, say: Say, ways: Ways = "auto") -> Outcomes:
    """Both platforms, from their start to what their logs say.

    Raises:
        BenchError: network namespaces are asked for and cannot be had.
    """
    cells: dict[Cell, Outcome] = {}
    findings: dict[Policy, list[Finding]] = {}
    events = 0
    with cutting(folder, ways) as network, _platforms(folder, network, away_s=away_s, say=say) as platforms:
        say(f"cuts are made by {network.words}")
        with ThreadPoolExecutor() as pool:
            told = {policy: pool.submit(platform.run) for policy, platform in platforms.items()}
        for policy, future in told.items():
            observed = future.result()
            rig = platforms[policy].rig
            differences = [Finding("the view is the log", text) for text in rig.verify()]
            for minded in rig.minded:
                minded.forsake()
                minded.signal(signal.SIGKILL)
            topics = decode_topics(asyncio.run(read_records(rig.bootstrap, rig.prefix)))
            acceptance = Acceptance(topics)
            findings[policy] = [*differences, *acceptance.judge()]
            events += acceptance.events
            refused = acceptance.count_refused()
            for it in observed:
                cells[it.cell] = Outcome(state_cell(it.cell, away_s=away_s), it, refused[it.copy])
    return Outcomes(cells, findings, events, network.words)


@contextlib.contextmanager
def _platforms(
    folder: Path, network: Network, *, away_s: float, say: Say
) -> Iterator[dict[Policy, Platform]]:
    """A platform for each policy, whose nodes can be cut off from their broker."""
    with contextlib.ExitStack() as stack:
        rigs = {policy: stack.enter_context(network.create_rig(folder / policy)) for policy in POLICIES}
        yield {policy: Platform(rig, network, policy, away_s=away_s, say=say) for policy, rig in rigs.items()}
