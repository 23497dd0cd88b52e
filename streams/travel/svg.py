"""Parts of SVG documents that need nothing else to be shown. Pure."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

INK = "#333333"


def document(width: float, height: float, parts: Iterable[str]) -> str:
    """A document on a white ground."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" font-family="sans-serif">'
    ground = f'<rect width="{width:g}" height="{height:g}" fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>", ""])


def path(points: Sequence[tuple[float, float]], colour: str) -> str:
    """A line through points."""
    joined = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>'


def text(
    x: float, y: float, words: str, colour: str = INK, anchor: Literal["start", "middle", "end"] = "middle"
) -> str:
    """Words at a place."""
    return (
        f'<text x="{x}" y="{y}" font-size="12" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
    )


def dot(x: float, y: float, colour: str) -> str:
    """A point that is seen."""
    return f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'


def bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    """A filled box."""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{colour}"/>'
