"""What a start costs and what the platform costs at rest: `python -m bench.startup --json`.

Everything goes through the commands that a person types (`scripts/up`, `cli.py`), on a data directory and ports
of its own. README.md says how each figure is taken.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.processes import cpu_s, describe, pss_mib
from bench.results import (
    COULD_NOT,
    BenchError,
    Result,
    Target,
    make_figure,
    print_result,
    read_machine,
)
from streams.commands import CommandError
from streams.local.ports import find_free_ports
from streams.local.processes import find_marked, run_mark
from streams.local.rundir import read_run
from streams.settings import PROJECT_ROOT, Settings, resolved_environment

WARM_UP: Final = Target("warm_up_ms", 12_000)
NODES_LIST: Final = Target("nodes_list_ms_p50", 500)
CLI_HELP: Final = Target("cli_help_ms_p50", 150)
RESIDENT: Final = Target("resident_mib", 400, "MiB")
IDLE_CPU: Final = Target("idle_cpu_percent", 20, "percent of one core")

COMMAND_WITHIN_S: Final = 180.0
#: After the start, compiled caches, first snapshots and joins are over by then.
REST_AFTER_S: Final = 15.0

Say = Callable[[str], None]


class Launched:
    """A platform that is started and stopped by its commands."""

    def __init__(self, folder: Path) -> None:
        kafka_port, controller_port, node_port = find_free_ports(3)
        self.settings = Settings(
            data_dir=str(folder),
            kafka_port=kafka_port,
            kafka_controller_port=controller_port,
            node_port_base=node_port,
        )
        # As `up` hands settings to its children: costs what no settings at all cost, which is how most start it.
        # Without the marks and variables of whoever runs the bench.
        self._env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("WATCHKEEP_", "KAFKA_"))},
            **{k: v for k, v in os.environ.items() if k == "WATCHKEEP_CACHE_DIR"},
            **resolved_environment(self.settings),
        }
        #: CPU time of the last command, ms; hardly grows when others use the machine too.
        self.cpu_ms = 0.0

    def up(self) -> float:
        """Start everything; milliseconds until the command came back, which it does when all is green."""
        return self._run([str(PROJECT_ROOT / "scripts" / "up"), "--detach"])

    def down(self) -> None:
        """Stop everything."""
        self.cli("down")

    def cli(self, *args: str) -> float:
        """Run a command; milliseconds."""
        return self._run([sys.executable, str(PROJECT_ROOT / "cli.py"), *args])

    def _run(self, argv: list[str]) -> float:
        began_s, used_s = time.perf_counter(), _children_cpu_s()
        done = subprocess.run(
            argv,
            env=self._env,
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
        took_ms = (time.perf_counter() - began_s) * 1000
        self.cpu_ms = round((_children_cpu_s() - used_s) * 1000, 1)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise BenchError(f"{' '.join(argv[-3:])} ended with {done.returncode}: {' '.join(said)}")
        return took_ms

    def child_pids(self, name: str) -> list[int]:
        """Processes that the supervisor keeps, by the begin of their names."""
        children = read_run(self.settings.data_path).get("children", [])
        return [it["pid"] for it in children if it["name"].startswith(name) and it["pid"] and not it["once"]]

    def pids(self) -> list[int]:
        """Every process of the platform, its supervisor included."""
        found = {process.pid for process in find_marked(run_mark(self.settings.data_path))}
        supervisor = read_run(self.settings.data_path).get("supervisor", {}).get("pid")
        return sorted(found | ({supervisor} if supervisor else set()))

    @contextlib.contextmanager
    def without_workers(self) -> Iterator[None]:
        """Every worker stopped (SIGSTOP): killed ones would be started again."""
        workers = self.child_pids("worker")
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)


def measure(launched: Launched, *, starts: int, runs: int, idle_s: float, say: Say) -> Result:
    """All figures."""
    machine = read_machine(kafka=launched.settings.kafka_version)
    say("first start, which prepares the data directory")
    launched.up()
    warm = []
    for number in range(1, starts + 1):
        say(f"warm start {number} of {starts}")
        launched.down()
        warm.append(launched.up())
    say("coming to rest")
    time.sleep(REST_AFTER_S)
    memory = _resident(launched)
    say(f"{idle_s:.0f} s at rest")
    cpu = _idle_cpu(launched, idle_s)
    say("commands")
    helps = [launched.cli("--help") for _ in range(runs)]
    used = {CLI_HELP.name: launched.cpu_ms}
    listed = {"workers_up": [launched.cli("nodes", "list") for _ in range(runs)]}
    used[NODES_LIST.name] = launched.cpu_ms
    with launched.without_workers():
        listed["workers_down"] = [launched.cli("nodes", "list") for _ in range(runs)]
    lists = {name: make_figure(NODES_LIST, values) for name, values in listed.items()}
    return Result(
        bench="startup",
        machine=machine,
        figures=[
            make_figure(WARM_UP, warm),
            max(lists.values(), key=lambda figure: figure.value),
            make_figure(CLI_HELP, helps),
            make_figure(RESIDENT, [sum(memory.values())]),
            make_figure(IDLE_CPU, [sum(cpu.values())]),
        ],
        notes=[_compare(lists["workers_up"].value, lists["workers_down"].value)],
        detail={
            NODES_LIST.name: {name: figure.value for name, figure in lists.items()},
            RESIDENT.name: memory,
            IDLE_CPU.name: cpu,
            "cpu_ms": used,
        },
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _compare(up_ms: float, down_ms: float) -> str:
    return (
        f"nodes list: {up_ms:g} ms with workers, {down_ms:g} ms with every worker stopped; "
        "the figure is the worse."
    )


def _resident(launched: Launched) -> dict[str, float]:
    """MiB of each kind of process, the broker apart."""
    broker = set(launched.child_pids("kafka"))
    found: dict[str, float] = defaultdict(float)
    for pid in launched.pids():
        if pid not in broker:
            found[describe(pid)] += pss_mib(pid)
    return {name: round(value, 1) for name, value in sorted(found.items())}


def _idle_cpu(launched: Launched, idle_s: float) -> dict[str, float]:
    """Percent of one core that each kind of process used, the broker included.

    Raises:
        BenchError: a process came or went meanwhile, so it was no rest.
    """
    before, began_s = {pid: cpu_s(pid) for pid in launched.pids()}, time.monotonic()
    time.sleep(idle_s)
    if set(launched.pids()) != set(before):
        raise BenchError("A process came or went while the platform ought to have been at rest.")
    took_s = time.monotonic() - began_s
    found: dict[str, float] = defaultdict(float)
    for pid, used_s in before.items():
        found[describe(pid)] += (cpu_s(pid) - used_s) / took_s * 100
    return {name: round(value, 2) for name, value in sorted(found.items())}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--starts", type=click.IntRange(1), default=3, show_default=True, help="Warm starts.")
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="Runs of each command.")
@click.option("--idle-s", type=click.FloatRange(1), default=60.0, show_default=True, help="Time at rest.")
def main(*, as_json: bool, starts: int, runs: int, idle_s: float) -> None:
    """Start and stop the platform, and measure what it costs at rest."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(COULD_NOT))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder,
            Progress(*columns, console=console, transient=True, disable=as_json) as progress,
        ):
            task = progress.add_task("starting", total=None)
            launched = Launched(Path(folder))
            try:
                result = measure(
                    launched,
                    starts=starts,
                    runs=runs,
                    idle_s=idle_s,
                    say=lambda text: progress.update(task, description=text),
                )
            finally:
                launched.down()
    except (BenchError, CommandError, OSError, subprocess.TimeoutExpired) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
