"""What the planner needs when most of a large platform dies at once: `python -m bench.planner --json`.

A real Kafka, one real worker, and nodes that exist only on Kafka (`bench.crowd`). README.md says how each figure is
taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import click
from aiokafka import TopicPartition
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.placement import place_all
from bench.processes import cpu_s, resident_mib
from bench.results import COULD_NOT, BenchError, Result, Target, make_figure, print_result, read_machine
from sdk.contract.codec import DecodeError, decode_orders, encode_request
from sdk.contract.events import AppPlaced
from sdk.contract.heartbeats import PoolReport
from sdk.contract.orders import NodeOrders
from sdk.contract.requests import ConfigurePool, RunApp
from sdk.contract.specs import AppSpec
from sdk.contract.topics import WIDE_PARTITIONS, Topics
from streams.clients import create_reader
from streams.commands import CommandError
from streams.local.looking import Looking
from streams.local.rig import POOL, Rig
from streams.reading import read_platform
from streams.settings import Settings
from tables.state import State, is_hosted

ALL_PLACED: Final = Target("all_placed_ms", 10_000)
RESIDENT: Final = Target("planner_resident_mib", 400, "MiB")
GROWTH: Final = Target("cost_growth_ratio", 1.5, "of a tenth")
SPEED: Final = Target("decisions_per_s", 5_000, "1/s", "higher", digits=0)

#: Nodes beyond those that die, as a share of them: these take all the apps.
_LEFT_SHARE: Final = 0.1
#: Filling a platform is bounded by how fast requests are admitted, some hundred a second.
_FILL_WITHIN_S: Final = 600.0
_PLACE_WITHIN_S: Final = 300.0
_END_WITHIN_S: Final = 10.0
_VIEW_WITHIN_S: Final = 300.0
_LOOK_EVERY_S: Final = 0.2
_ASK_EVERY_S: Final = 0.5

Say = Callable[[str], None]


class Died(NamedTuple):
    """What the death of most nodes led to."""

    all_placed_ms: float
    #: Largest resident memory of the worker from the deaths until all was placed.
    resident_mib: float
    #: CPU time of the worker over that stretch, s, and how much it placed in it.
    cpu_s: float
    placed: int
    #: From the deaths until the published view showed all of it: it waits until the flood is over.
    view_ms: float


class Peak(Looking):
    """Looks at the resident memory of a process."""

    def __init__(self, pid: int) -> None:
        super().__init__("peak", _LOOK_EVERY_S)
        self._pid = pid
        #: The largest value seen.
        self.mib = 0.0

    def look(self) -> None:
        """Keep the larger value."""
        self.mib = max(self.mib, resident_mib(self._pid))


@contextlib.contextmanager
def crowd(rig: Rig, slots: int) -> Iterator[subprocess.Popen[str]]:
    """Simulated nodes of the rig's pool."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.crowd", rig.bootstrap, rig.prefix, POOL, str(slots)],
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def let_die(*, nodes: int, apps: int, say: Say) -> Died:
    """Fill a platform and let `nodes` of its nodes die at once; those beyond take their apps.

    Raises:
        BenchError: not everything was placed within the bound.
    """
    left = max(1, round(nodes * _LEFT_SHARE))
    # The dead ones' apps all fit on those that are left, with some room to choose.
    slots = -(-apps * 5 // (left * 4))
    with (
        tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder,
        Rig(Path(folder), log_level="warning") as rig,
    ):
        rig.start(
            workers=1,
            nodes=0,
            provisioner=False,
            policy={"brake_nodes_min": 1_000_000, "pool_nodes_max": 3 * nodes, "on_node_failure": "spread"},
        )
        with crowd(rig, slots) as process:
            try:
                _fill(rig, nodes + left, apps, slots, say)
                say("the published view follows")
                _await_view(rig)
                return _kill(rig, process, nodes, say)
            except TimeoutError as error:
                raise BenchError(str(error).splitlines()[0]) from None


def _fill(rig: Rig, nodes: int, apps: int, slots: int, say: Say) -> None:
    say(f"{nodes} nodes come up")
    rig.ask(ConfigurePool(POOL, nodes=nodes, slots=slots))
    rig.wait(
        _now_and_then(lambda state: sum(it.status == "active" for it in state.nodes.values()) == nodes),
        within_s=_FILL_WITHIN_S,
        what=f"{nodes} active nodes",
    )
    say(f"{apps} apps are placed for the first time")
    at_ms = time.time_ns() // 1_000_000
    records = []
    for number in range(apps):
        request_id = str(uuid.uuid4())
        spec = AppSpec(f"application-{number}", ["beats"])
        value = encode_request(RunApp(spec), request_id=request_id, asker="bench", at_ms=at_ms)
        records.append((rig.topics.requests, value, request_id.encode(), 0))
    rig.log.put_many(records)  # type: ignore[arg-type]  # a list of narrower tuples
    rig.wait(
        _now_and_then(lambda state: _running(state) == apps),
        within_s=_FILL_WITHIN_S,
        what=f"{apps} running apps",
    )


def _await_view(rig: Rig) -> None:
    """Return when the published view covers what is on the log now: the platform is at rest."""
    offset, deadline_s = rig.log.offset, time.monotonic() + _VIEW_WITHIN_S
    while asyncio.run(read_platform(rig.bootstrap, rig.prefix)).progress < offset:
        if time.monotonic() >= deadline_s:
            raise BenchError(f"The published view did not cover the log within {_VIEW_WITHIN_S:.0f} s.")
        time.sleep(_ASK_EVERY_S)


def _now_and_then(condition: Callable[[State], bool]) -> Callable[[State], bool]:
    """A condition that costs so much that it is asked a few times a second only; false in between."""
    next_s = 0.0

    def ask(state: State) -> bool:
        nonlocal next_s
        if time.monotonic() < next_s:
            return False
        answer = condition(state)
        next_s = time.monotonic() + _ASK_EVERY_S
        return answer

    return ask


def _running(state: State) -> int:
    return sum(it.phase == "running" and is_hosted(state, it) for it in state.apps.values())


def _kill(rig: Rig, process: subprocess.Popen[str], nodes: int, say: Say) -> Died:
    """Let the nodes die and see when the orders for everything they had are written."""
    say(f"{nodes} nodes die")
    pid, since = rig.worker_pid("worker-1"), rig.log.offset + 1
    before = {app: row.generation for app, row in rig.state().apps.items()}
    began_s = cpu_s(pid)
    with Peak(pid) as peak:
        assert process.stdin is not None
        process.stdin.write(f"kill {nodes}\n")
        process.stdin.flush()
        rig.wait(
            lambda state: _all_moved(state, nodes),
            within_s=_PLACE_WITHIN_S,
            what="every app on a node that lives",
        )
        if rig.worker_pid("worker-1") != pid:
            raise BenchError(
                "The worker ended and was started again after the deaths: there is no figure of one worker."
            )
        took_s = cpu_s(pid) - began_s
    placed = [event for _, event in rig.accepted(AppPlaced, since)]
    died_ms = min(
        heard.append_ms
        for heard in rig.reports()
        if isinstance(heard.said, PoolReport) and any(it.status == "exited" for it in heard.said.nodes)
    )
    say("the orders are read")
    state = rig.state()
    wanted = {(app, row.generation) for app, row in state.apps.items() if row.generation != before[app]}
    written_ms = asyncio.run(_written_ms(rig.bootstrap, rig.topics, wanted))
    say("the published view follows")
    _await_view(rig)
    view_ms = time.time_ns() // 1_000_000 - died_ms
    return Died(written_ms - died_ms, peak.mib, took_s, len(placed), view_ms)


def _all_moved(state: State, dead: int) -> bool:
    """All nodes that died are known to be dead, and all that was on them runs elsewhere."""
    down = sum(row.status == "down" for row in state.nodes.values())
    return down >= dead and _running(state) == len(state.apps)


async def _written_ms(bootstrap: str, topics: Topics, wanted: set[tuple[str, int]]) -> int:
    """When the last of these generations stood in somebody's orders for the first time."""
    reader = create_reader(bootstrap)
    await reader.start()
    places = [TopicPartition(topics.commands, number) for number in range(WIDE_PARTITIONS)]
    try:
        reader.assign(places)
        ends = await reader.end_offsets(places)
        for place in places:
            reader.seek(place, 0)
        first: dict[tuple[str, int], int] = {}
        while any([await reader.position(place) < ends[place] for place in places]):
            for records in (await reader.getmany(timeout_ms=500)).values():
                for record in records:
                    try:
                        orders = decode_orders((record.key or b"").decode(), record.value)
                    except DecodeError:
                        continue
                    for it in orders.apps if isinstance(orders, NodeOrders) else ():
                        key = (it.app, it.generation)
                        if key in wanted:
                            first[key] = min(first.get(key, record.timestamp), record.timestamp)
    finally:
        await reader.stop()
    if len(first) < len(wanted):
        raise BenchError(f"{len(wanted) - len(first)} apps were placed but stand in nobody's orders.")
    return max(first.values())


def measure(*, nodes: int, apps: int, rounds: int, say: Say) -> Result:
    """All figures."""
    speed = [
        1 / place_all("spread", nodes=nodes, apps=apps, seed=seed).cost_s for seed in range(max(3, rounds))
    ]
    large, growth = [], []
    for number in range(1, rounds + 1):

        def tell(what: str, number: int = number) -> None:
            say(f"round {number} of {rounds}: {what}")

        few = let_die(nodes=nodes // 10, apps=apps // 10, say=tell)
        many = let_die(nodes=nodes, apps=apps, say=tell)
        large.append(many)
        growth.append((many.cpu_s / many.placed) / (few.cpu_s / few.placed))
    return Result(
        bench="planner",
        machine=read_machine(kafka=Settings().kafka_version),
        figures=[
            make_figure(ALL_PLACED, [it.all_placed_ms for it in large]),
            make_figure(RESIDENT, [it.resident_mib for it in large]),
            make_figure(GROWTH, growth),
            make_figure(SPEED, speed),
        ],
        notes=[
            f"{nodes} of {nodes + round(nodes * _LEFT_SHARE)} nodes die; {large[0].placed} apps are placed anew.",
            f"Growth is against {nodes // 10} nodes and {apps // 10} apps.",
            (
                "The published view showed all of it "
                f"{', '.join(f'{it.view_ms / 1000:.1f}' for it in large)} s after the deaths."
            ),
        ],
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--nodes", type=click.IntRange(20), default=1_000, show_default=True, help="Nodes that die.")
@click.option("--apps", type=click.IntRange(20), default=10_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
def main(*, as_json: bool, nodes: int, apps: int, rounds: int) -> None:
    """Let most nodes of a large platform die at once, and measure the planner.

    The brake is off, and the policy is `spread`: the nodes that are left take all apps.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    try:
        with Progress(*columns, console=console, transient=True, disable=as_json) as progress:
            task = progress.add_task("pure placement", total=None)
            result = measure(
                nodes=nodes,
                apps=apps,
                rounds=rounds,
                say=lambda what: progress.update(task, description=what),
            )
    except (BenchError, CommandError, TimeoutError, RuntimeError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
