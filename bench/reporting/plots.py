"""The plots of docs/performance.md. Pure: the same results give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bench.results import Figure, Result
from streams.travel import svg

_WIDTH: Final = 720
_ROW: Final = 22
_LEFT: Final = 300
_MARGIN: Final = 48
_OURS: Final = "#2471a3"
_THEIRS: Final = "#d68910"
_SHORT: Final = "#c0392b"
_BUCKET_MS: Final = 50
#: From here on a number is shown without its fraction.
_WHOLE_FROM: Final = 1_000


def is_asked(figure: Figure) -> bool:
    """Whether anything is asked of it (`Target.reach`)."""
    return bool(figure.reach) or figure.better == "lower"


def plots_of(results: Mapping[str, Result]) -> dict[str, str]:
    """File name -> SVG of what can be drawn from these results."""
    found = {name: draw(results) for name, draw in PLOTS.items()}
    return {name: drawn for name, drawn in found.items() if drawn}


def bars(title: str, rows: Sequence[tuple[str, float, str]], unit: str) -> str:
    """A bar for each row (name, value, colour), on a logarithmic scale from the power of ten below the smallest."""
    low = math.floor(math.log10(min(value for _, value, _ in rows)))
    high = math.log10(max(value for _, value, _ in rows))
    scale = (_WIDTH - _LEFT - 90) / max(0.1, high - low)
    parts = [svg.text(_WIDTH / 2, 20, f"{title} (logarithmic)")]
    for number, (name, value, colour) in enumerate(rows):
        y = 36 + number * _ROW
        width = round(max(2.0, (math.log10(value) - low) * scale), 1)
        parts.append(svg.text(_LEFT - 8, y + 13, name, anchor="end"))
        parts.append(svg.bar(_LEFT, y, width, _ROW - 6, colour))
        parts.append(
            svg.text(round(_LEFT + width + 6, 1), y + 13, f"{_number(value)} {unit}", anchor="start")
        )
    return svg.document(_WIDTH, 48 + len(rows) * _ROW, parts)


def columns(title: str, counts: Mapping[int, float], unit: str, width: int) -> str:
    """How many fell into each bucket."""
    height, first, last = 320, min(counts), max(counts)
    slots = (last - first) // width + 1
    step, highest = (_WIDTH - 2 * _MARGIN) / slots, max(counts.values())
    parts = [svg.text(_WIDTH / 2, 20, title)]
    every = max(1, slots // 12)
    for slot in range(slots):
        low = first + slot * width
        tall = round(counts.get(low, 0) / highest * (height - 2 * _MARGIN), 1)
        x = round(_MARGIN + slot * step, 1)
        parts.append(svg.bar(x, round(height - _MARGIN - tall, 1), round(max(1.0, step - 1), 1), tall, _OURS))
        if slot % every == 0:
            parts.append(svg.text(x, height - _MARGIN + 18, str(low)))
    parts.append(svg.text(_WIDTH / 2, height - 8, unit))
    parts.append(svg.text(_MARGIN, 36, f"highest column: {highest:g}", anchor="start"))
    return svg.document(_WIDTH, height, parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:.4g}"


def stacks(title: str, rows: Sequence[tuple[str, int, int]]) -> str:
    """A row (name, first part, second part) as two bars end to end, on a linear scale."""
    scale = (_WIDTH - _LEFT - 130) / max(first + second for _, first, second in rows)
    parts = [svg.text(_WIDTH / 2, 20, title)]
    for number, (name, first, second) in enumerate(rows):
        y, begin = 36 + number * _ROW, float(_LEFT)
        parts.append(svg.text(_LEFT - 8, y + 13, name, anchor="end"))
        for count, colour in ((first, _OURS), (second, _SHORT)):
            width = round(count * scale, 1)
            if count:
                parts.append(svg.bar(round(begin, 1), y, width, _ROW - 6, colour))
            begin += width
        parts.append(svg.text(round(begin + 6, 1), y + 13, f"{first} of {first + second}", anchor="start"))
    return svg.document(_WIDTH, 48 + len(rows) * _ROW, parts)


def _goals(results: Mapping[str, Result]) -> str:
    rows = []
    for name, result in results.items():
        asked = [figure.is_reached for figure in result.figures or [] if is_asked(figure)]
        if asked:
            rows.append((name, sum(asked), len(asked) - sum(asked)))
    return stacks("Figures that reach their goal (blue) and that fall short (red)", rows) if rows else ""


def _latency(results: Mapping[str, Result]) -> str:
    counts: dict[int, float] = {}
    for name, result in results.items():
        if name.startswith("fleet"):
            for time_ms, count in result.detail.get("over_limit_histogram", {}).items():
                low = int(time_ms) // _BUCKET_MS * _BUCKET_MS
                counts[low] = counts.get(low, 0) + count
    title = "Silences found, by how much later than the limit of 10 s"
    return columns(title, counts, f"ms, in steps of {_BUCKET_MS}", _BUCKET_MS) if any(counts.values()) else ""


def _cost(results: Mapping[str, Result]) -> str:
    rows = []
    for name, result in results.items():
        sources = result.detail.get("size", {}).get("sources")
        cost = result.detail.get("watcher", {}).get("cpu_us_per_record", 0.0)
        if name.startswith("fleet") and sources and cost > 0:
            kind = "lone sources" if result.detail["size"].get("lone") == sources else "sources in reports"
            rows.append((sources, f"{sources:,.0f} {kind}", cost))
    if "watcher" in results:
        costs = results["watcher"].detail.get("watch_cpu_us_per_record", {})
        rows += [
            (float(lone), f"{int(lone):,} lone sources, read at once", cost)
            for lone, cost in costs.items()
            if cost > 0
        ]
    title = "CPU time of the watcher for each record it reads"
    return bars(title, [(words, cost, _OURS) for _, words, cost in sorted(rows)], "us") if rows else ""


def _recovery(results: Mapping[str, Result]) -> str:
    figures = results["swarm"].figures or [] if "swarm" in results else []
    rows = []
    for figure in figures:
        if figure.name.endswith("recovered_ms_p50") and figure.value > 0:
            words = figure.name.removesuffix("_recovered_ms_p50").removesuffix("_found_and").replace("_", " ")
            theirs = words.startswith("swarm")
            system = words.replace("swarm", "Swarm") if theirs else f"Watchkeep, {words}"
            rows.append((system, figure.value, _THEIRS if theirs else _OURS))
    return bars("From a fault until all beat again", rows, "ms") if rows else ""


def _peers(results: Mapping[str, Result]) -> str:
    figures = results["peers"].figures or [] if "peers" in results else []
    rows = [
        (it.name.removeprefix("vs_").replace("_ratio", "").replace("_", " "), it.value, _THEIRS)
        for it in figures
        if it.name.startswith("vs_") and it.value > 0
    ]
    return bars("CPU time of the same job over ours", rows, "times") if rows else ""


#: Every plot that a report may have: file name -> what draws it, which gives nothing without figures.
PLOTS: Final[Mapping[str, Callable[[Mapping[str, Result]], str]]] = {
    "detection-latency.svg": _latency,
    "cost-by-sources.svg": _cost,
    "recovery-next-to-swarm.svg": _recovery,
    "cost-next-to-others.svg": _peers,
    "goals.svg": _goals,
}
