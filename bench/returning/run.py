"""All cells of the table on real platforms: one for each policy, at once, on one broker. Shell."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bench.auditing.cuts import Cuts, create_cut_broker
from bench.auditing.recorded import decode_topics, read_records
from bench.returning.accepted import Acceptance
from bench.returning.cells import POLICIES, Cell, Policy, Stated, state_cell
from bench.returning.platform import Observed, Platform, Say
from streams.local.processes import run_mark
from streams.local.rig import Rig
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


def run_cells(folder: Path, *, away_s: float, say: Say) -> Outcomes:
    """Both platforms, from their start to what their logs say."""
    cells: dict[Cell, Outcome] = {}
    findings: dict[Policy, list[Finding]] = {}
    events = 0
    with _platforms(folder, away_s=away_s, say=say) as platforms:
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
    return Outcomes(cells, findings, events)


@contextlib.contextmanager
def _platforms(folder: Path, *, away_s: float, say: Say) -> Iterator[dict[Policy, Platform]]:
    """A platform for each policy, whose processes reach their broker through a proxy."""
    broker, ports = create_cut_broker(folder / "kafka")
    with contextlib.ExitStack() as stack:
        broker.start()
        stack.callback(broker.kill)
        cuts = stack.enter_context(
            Cuts(port=ports.proxy, broker_port=ports.behind, mark=run_mark(folder / "proxy"))
        )
        rigs = {
            policy: stack.enter_context(
                Rig(folder / policy, bootstrap=broker.bootstrap, via=f"127.0.0.1:{ports.proxy}")
            )
            for policy in POLICIES
        }
        yield {policy: Platform(rig, cuts, policy, away_s=away_s, say=say) for policy, rig in rigs.items()}
