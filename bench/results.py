"""What a bench prints: one JSON object, or a table for people (DESIGN 14).

1. With `--json` the object is all that stdout gets; progress and troubles go to stderr.
2. A run that could not offer the load it was asked for says why under `void` and has no figures.
3. Exit code 0: it ran, whatever the figures say. 1: it could not, or is void.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

RAN: Final = 0
COULD_NOT: Final = 1


class Target(NamedTuple):
    """A figure's name, which ends in what it is, and what it ought to reach."""

    name: str
    #: 0 of a figure that ought to be high: nothing is asked of it.
    reach: float
    unit: str = "ms"
    better: Literal["lower", "higher"] = "lower"
    #: Places after the point.
    digits: int = 1


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    cores: int
    memory_gib: int
    python: str
    kafka: str
    #: One-minute load average when the bench began: what others did here.
    load_before: float


class Figure(msgspec.Struct, frozen=True):
    """One measured figure."""

    name: str
    value: float
    unit: str
    reach: float
    better: Literal["lower", "higher"]
    rounds: int
    #: Smallest and largest of `values`.
    spread: tuple[float, float]
    #: What each round gave, in order.
    values: list[float]

    @property
    def is_reached(self) -> bool:
        """Whether the value is as good as it ought to be."""
        return self.value <= self.reach if self.better == "lower" else self.value >= self.reach


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The one object."""

    bench: str
    machine: Machine
    figures: list[Figure] | None = None
    #: Why there are no figures.
    void: str = ""
    #: What a reader of the figures should know, in sentences.
    notes: list[str] = []
    #: Parts of figures, by name and part.
    detail: dict[str, dict[str, float]] = {}


class BenchError(Exception):
    """The bench could not run; the message is one plain sentence."""


class VoidError(Exception):
    """The bench ran, but could not offer the load; the message says why."""


def make_figure(target: Target, values: Sequence[float]) -> Figure:
    """A figure from what each round gave: its name says whether it is the largest, the median or the sum.

    Any other name is the median too, for figures that are taken a few times over.
    """
    if not values:
        raise BenchError(f"{target.name}: no round gave a value.")
    # A tenth is enough for times and counts, and too coarse for a share.
    digits = 3 if target.name.endswith("_ratio") else target.digits
    rounded = [round(float(value), digits) for value in values]
    if target.name.endswith("_max"):
        value = max(rounded)
    elif target.name.endswith("_count"):
        value = sum(rounded)
    else:
        value = round(statistics.median(rounded), digits)
    return Figure(
        name=target.name,
        value=value,
        unit=target.unit,
        reach=target.reach,
        better=target.better,
        rounds=len(rounded),
        spread=(min(rounded), max(rounded)),
        values=rounded,
    )


def read_machine(*, kafka: str) -> Machine:
    """This machine, now."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(memory / (1 << 30)),
        python=platform.python_version(),
        kafka=kafka,
        load_before=round(os.getloadavg()[0], 2),
    )


def encode_result(result: Result) -> str:
    """The object as one line."""
    return msgspec.json.encode(result).decode()


def print_result(result: Result, *, as_json: bool) -> int:
    """Print the object, or a table for people, on stdout; return the exit code."""
    if as_json:
        sys.stdout.write(encode_result(result) + "\n")
        sys.stdout.flush()
    else:
        _print_table(result, Console(highlight=False))
    return COULD_NOT if result.void else RAN


def _print_table(result: Result, console: Console) -> None:
    machine = result.machine
    console.print(
        f"{result.bench}: {machine.cores} cores, {machine.memory_gib} GiB, Python {machine.python}, "
        f"Kafka {machine.kafka}, load before {machine.load_before}"
    )
    if result.void:
        console.print(f"[bold red]void[/]: {result.void}", soft_wrap=True)
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("FIGURE", "VALUE", "REACH", "", "ROUNDS", "SPREAD"):
            table.add_column(heading, justify="left" if heading in {"FIGURE", "", "SPREAD"} else "right")
        for figure in result.figures or []:
            verdict = "[green]ok[/]" if figure.is_reached else "[bold red]short[/]"
            low, high = figure.spread
            table.add_row(
                figure.name,
                f"{figure.value:g} {figure.unit}",
                f"{figure.reach:g}",
                verdict,
                str(figure.rounds),
                f"{low:g} to {high:g}",
            )
        console.print(table)
    for note in result.notes:
        console.print(f"- {note}", soft_wrap=True, markup=False)
