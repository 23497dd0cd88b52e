"""Options and checks that the commands which ask for something share. Shell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from streams.commands import NOT_FOUND, CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tables.state import State

no_wait_option = click.option("--no-wait", is_flag=True, help="Return as soon as the request is admitted.")


def timeout_option(default_s: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add `--timeout`."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0.1),
        default=default_s,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for the outcome.",
    )


_TIME = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>ms|[smhd])")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_time(text: str) -> int | None:
    """The time in `500ms`, `30s`, `30m`, `2h` or `1d`, ms; None if it is none."""
    match = _TIME.fullmatch(text)
    return int(match["number"]) * _UNIT_MS[match["unit"]] if match else None


class Span(click.ParamType):
    """A length of time such as 500ms, 30s, 5m or 2h, in ms."""

    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the time that a person wrote, ms."""
        ms = value if isinstance(value, int) else parse_time(value)
        if ms is None:
            self.fail(f"{value!r:.40} is no length of time; write 500ms, 30s, 5m, 2h or 1d", param, ctx)
        return ms


def check_known(state: State, node: str) -> str:
    """Return `node` if the log knows it.

    Raises:
        CommandError: it does not.
    """
    if node not in state.nodes:
        raise CommandError(
            f"There is no node {node}; `python cli.py nodes list --all` lists them.", NOT_FOUND
        )
    return node
