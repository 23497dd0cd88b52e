"""docs/performance.md out of results. Pure: the same results give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.reporting.plots import is_asked
from bench.results import Figure, Result

#: The benches whose figures the page ought to have, in its order, with what each asks.
BENCHES: Final = {
    "fleet": "A million sources in reports",
    "fleet-lone": "Lone sources, one record each",
    "watcher": "What a lone beat costs next to a bare reader",
    "peers": "The same job by others",
    "starts": "Starts and catching up",
    "shared": "Partitions shared by watchers",
    "outage": "A broker that is away",
    "swarm": "The same faults with Docker Swarm",
    "failover": "How fast what dies comes back",
    "planner": "A thousand nodes die at once",
    "placement": "Where apps go",
    "startup": "Starting",
    "sdk": "The SDK",
    "replay": "Reading the past",
    "simulate": "The simulator",
}
#: Parts of a result that are drawn, or say what it is of, so no table repeats them.
_DRAWN: Final = {"over_limit_histogram", "size"}
_TEXTS: Final = Path(__file__).with_name("texts")


def page_of(results: Mapping[str, Result], plots: Mapping[str, str], figures: str) -> str:
    """The page; `figures` is the way from it to the folder of the plots."""
    known = [name for name in BENCHES if name in results]
    others = sorted(set(results) - set(BENCHES))
    parts = [_text("head.md")]
    missing = [f"`{name}.json`" for name in BENCHES if name not in results]
    if missing:
        parts.append(f"No figures are kept of {', '.join(missing)}.")
    parts += [f"![{name.removesuffix('.svg').replace('-', ' ')}]({figures}/{name})" for name in sorted(plots)]
    parts += [_section(name, results[name]) for name in (*known, *others)]
    parts += [_text("swarm-before.md"), _text("others.md")]
    return "\n\n".join(parts) + "\n"


def _section(name: str, result: Result) -> str:
    machine = result.machine
    where = (
        f"{machine.cores} cores, {machine.memory_gib} GiB, Python {machine.python}, Kafka {machine.kafka}, "
        f"load before {machine.load_before:g}."
    )
    lines = [
        f"## {BENCHES.get(name, name)}",
        "",
        f"From `docs/figures/{name}.json`, of `python -m bench.{result.bench} --json`. {where}",
        "",
    ]
    if result.void:
        lines.append(f"The run is void: {result.void}")
    else:
        lines += ["| figure | value | goal | | rounds | spread |", "|---|---|---|---|---|---|"]
        lines += [_row(figure) for figure in result.figures or []]
    if result.notes:
        lines += ["", *(f"- {_plain(note)}" for note in result.notes)]
    detail = {part: values for part, values in result.detail.items() if values and part not in _DRAWN}
    if detail:
        lines += ["", "| part | |", "|---|---|"]
        lines += [_part(part, values) for part, values in detail.items()]
    return "\n".join(lines)


def _row(figure: Figure) -> str:
    low, high = figure.spread
    asked = is_asked(figure)
    verdict = ("reached" if figure.is_reached else "**short**") if asked else ""
    goal = f"{figure.reach:,g}" if asked else ""
    value = f"{figure.value:,g} {figure.unit}".rstrip()
    return f"| `{figure.name}` | {value} | {goal} | {verdict} | {figure.rounds} | {low:,g} to {high:,g} |"


def _part(part: str, values: Mapping[str, float]) -> str:
    said = ", ".join(f"{_plain(name)} {value:,.6g}" for name, value in values.items())
    return f"| `{_plain(part)}` | {said} |"


def _plain(note: str) -> str:
    return " ".join(note.split()).replace("|", "/")


def _text(name: str) -> str:
    return (_TEXTS / name).read_text(encoding="utf-8").strip()
