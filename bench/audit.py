"""Torments a real platform from a seed and judges what it left: `python -m bench.audit --minutes 10 --seed 1 --json`.

A platform of its own on free ports; README.md says what is done to it, what is judged, and what a void run is.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from bench.auditing.plan import count_kinds, plan_steps
from bench.auditing.run import Audit, Audited
from bench.results import (
    COULD_NOT,
    BenchError,
    Machine,
    Result,
    Target,
    make_figure,
    print_result,
    read_machine,
)
from streams.commands import CommandError
from streams.settings import Settings

VIOLATIONS: Final = Target("violations_count", 0, "violations")
FAULTS: Final = Target("faults_count", 0, "faults", "higher")
OFFERED: Final = Target("load_offered_ratio", 0.8, "ratio", "higher")
#: Violations told in full; the rest is in the folder that is kept.
_TOLD: Final = 30


@click.command()
@click.option(
    "--minutes", type=click.FloatRange(0.2), default=10.0, show_default=True, help="Length of the torment."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of faults and requests.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--keep", is_flag=True, help="Keep topics, logs and journal of a run without violations too.")
def main(*, minutes: float, seed: int, as_json: bool, keep: bool) -> None:
    """Kill, pause, cut and ask a platform of its own from a seed, then judge all that it wrote."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    console = Console(stderr=True, highlight=False)
    steps = plan_steps(seed, length_s=minutes * 60)
    begun_s = time.monotonic()

    def say(text: str) -> None:
        if not as_json:
            console.print(f"[dim]{time.monotonic() - begun_s:6.1f}[/] {text}", soft_wrap=True)

    if not as_json:
        for step in steps:
            console.print(str(step), soft_wrap=True)
        console.print(
            f"seed {seed}: {count_kinds(steps, 'fault')}, {count_kinds(steps, 'request')}", soft_wrap=True
        )
    # That the broker goes away is the point of the bench; its clients would say so over and over.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    logging.getLogger("aiokafka").propagate = False
    machine = read_machine(kafka=Settings().kafka_version)
    folder = Path(tempfile.mkdtemp(prefix="watchkeep-audit-"))
    kept = True
    try:
        audited = Audit(folder, steps, seed=seed, length_s=minutes * 60, say=say).run()
        result = make_result(audited, machine, folder)
        kept = keep or bool(audited.findings)
    except (BenchError, CommandError, TimeoutError, RuntimeError) as error:
        click.echo(f"Error: {error} Logs and journal are in {folder}.", err=True)
        sys.exit(COULD_NOT)
    except BaseException:
        kept = keep
        raise
    finally:
        if not kept:
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)
    sys.exit(print_result(result, as_json=as_json))


def make_result(audited: Audited, machine: Machine, folder: Path) -> Result:
    """The object: void if the machine could not carry the load, which is no excuse if something is wrong."""
    notes = [f"violation: {found.rule}: {found.text}" for found in audited.findings[:_TOLD]]
    if audited.findings:
        notes.append(f"{len(audited.findings)} violations in all; topics, logs and journal are in {folder}")
    notes += audited.notes
    offered = audited.offered
    detail = {
        "faults": {kind: float(count) for kind, count in audited.struck.items()},
        "offered": {key: round(value, 3) for key, value in offered._asdict().items()},
        "machine": {"stalls_count": float(audited.stalls)},
        "healing": {"healed_s": round(audited.healed_s, 1)},
        "judged": {"events_count": float(audited.events), "records_count": float(audited.records)},
    }
    if offered.ratio < OFFERED.reach and not audited.findings:
        void = f"only {offered.ratio:.0%} of the planned load was offered: {offered._asdict()}"
        return Result("audit", machine, void=void, notes=notes, detail=detail)
    return Result(
        "audit",
        machine,
        figures=[
            make_figure(VIOLATIONS, [len(audited.findings)]),
            make_figure(FAULTS, [sum(audited.struck.values())]),
            make_figure(OFFERED, [offered.ratio]),
        ],
        notes=notes,
        detail=detail,
    )


if __name__ == "__main__":
    main()
