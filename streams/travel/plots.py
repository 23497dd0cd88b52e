"""A sweep drawn: in the terminal, and as SVG. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from streams.travel import svg
from streams.travel.silences import Totals

#: Size of a plot in the terminal, characters, and of an SVG, px: one that fits a page without scrolling.
_COLUMNS_MAX, _ROWS = 100, 16
_WIDTH, _HEIGHT, _MARGIN = 720, 360, 48


class Line(NamedTuple):
    """What a line shows, its marker in the terminal and its colour in an SVG."""

    name: str
    value: Callable[[Totals], int]
    marker: str
    colour: str


LINES = (
    Line("false", lambda totals: totals.false, "x", "#c0392b"),
    Line("true", lambda totals: totals.true, "o", "#2471a3"),
    Line("unknowable", lambda totals: totals.unknowable, "-", "#7f8c8d"),
    Line("false restarts", lambda totals: totals.false_restarts, "!", "#d68910"),
)


def terminal_plot(key: str, values: Sequence[int], totals: Sequence[Totals], *, columns: int) -> str:
    """The silences by value, `columns` characters wide at most, without colours."""
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(min(columns, _COLUMNS_MAX), _ROWS)
    for line in LINES:
        counts = [line.value(each) for each in totals]
        if any(counts):
            plotext.plot(list(values), counts, label=line.name, marker=line.marker)
    plotext.xticks(list(values), [str(value) for value in values])
    plotext.xlabel(key)
    text: str = plotext.uncolorize(plotext.build())
    return "\n".join(row.rstrip() for row in text.splitlines())


def svg_plot(key: str, values: Sequence[int], totals: Sequence[Totals]) -> str:
    """The same as an SVG document that needs nothing else."""
    highest = max((line.value(each) for line in LINES for each in totals), default=0) or 1
    low, width = min(values), (max(values) - min(values)) or 1
    inner_x, inner_y = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN

    def place(value: int, count: int) -> tuple[float, float]:
        x, y = _MARGIN + (value - low) / width * inner_x, _HEIGHT - _MARGIN - count / highest * inner_y
        return round(x, 1), round(y, 1)

    parts = [
        svg.path([place(low, highest), place(low, 0), place(max(values), 0)], svg.INK),
        svg.text(_WIDTH / 2, _HEIGHT - 10, key),
        svg.text(_MARGIN - 16, place(low, highest)[1] + 4, str(highest)),
        svg.text(_MARGIN - 16, place(low, 0)[1] + 4, "0"),
    ]
    parts += [svg.text(place(value, 0)[0], _HEIGHT - _MARGIN + 18, str(value)) for value in values]
    for number, line in enumerate(LINES):
        points = [place(value, line.value(each)) for value, each in zip(values, totals, strict=True)]
        parts.append(svg.path(points, line.colour))
        parts += [svg.dot(x, y, line.colour) for x, y in points]
        parts.append(svg.text(_MARGIN + 70 + number * 150, 24, line.name, line.colour))
    return svg.document(_WIDTH, _HEIGHT, parts)
