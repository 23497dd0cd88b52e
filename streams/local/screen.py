"""What `up` shows: one line per step with a tick and its seconds; plain lines without a terminal. Part of the shell."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text


class Screen:
    """Steps, one after another or several at once, on a terminal or in a file."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._finished: set[str] = set()
        self._current: str | None = None

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self.console.is_terminal:
            columns = [
                SpinnerColumn(finished_text="[green]✓[/]"),
                TextColumn("{task.description}"),
                _Seconds(),
                TextColumn("[dim]{task.fields[detail]}[/]"),
            ]
            self._progress = Progress(*columns, console=self.console)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw for the last time; what is not finished stays without a tick."""
        if kind is None and self._current:
            self.finish(self._current)
        if self._progress:
            self._progress.stop()

    def step(self, name: str) -> None:
        """Finish the step before and begin this one."""
        if self._current:
            self.finish(self._current)
        self._current = name
        self.begin(name)

    def begin(self, name: str) -> None:
        """Begin a step beside others; begun again, it goes on."""
        if name in self._began:
            return
        self._began[name] = time.monotonic()
        if self._progress:
            self._tasks[name] = self._progress.add_task(name, total=1, detail="")

    def finish(self, name: str) -> None:
        """Tick a step off; a second time nothing happens."""
        if name not in self._began or name in self._finished:
            return
        self._finished.add(name)
        seconds = time.monotonic() - self._began[name]
        if self._progress:
            self._progress.update(self._tasks[name], completed=1, detail="")
        else:
            self.console.print(f"ok   {name} ({seconds:.1f} s)")

    def detail(self, name: str, text: str) -> None:
        """Say how far a step is; on a terminal only."""
        if self._progress and name in self._tasks:
            self._progress.update(self._tasks[name], detail=text)

    def bytes_done(self, done: int, total: int) -> None:
        """Say how much of the current step's bytes are there."""
        if self._current:
            self.detail(self._current, f"{done / 1e6:.1f} of {total / 1e6:.1f} MB, {done * 100 // total} %")


class _Seconds(ProgressColumn):
    """Seconds of a step with one decimal."""

    def render(self, task: Task) -> Text:
        """Return the cell."""
        seconds = task.finished_time if task.finished else task.elapsed
        return Text(f"{seconds or 0:.1f} s", style="cyan")


def show_summary(
    console: Console,
    run: dict[str, Any],
    status: dict[str, Any],
    *,
    nodes: list[tuple[str, str, str]],
    bootstrap: str,
) -> None:
    """Print what runs and what to type next; `nodes` are id, place and status."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("NAME", "PID", "WHERE", "STATE"):
        table.add_column(heading, justify="right" if heading == "PID" else "left")
    for name, pid, where, state in _rows(run):
        table.add_row(name, pid, where, state)
    for name, where, state in nodes:
        table.add_row(name, "", where, state)
    console.print()
    console.print(table)
    console.print()
    console.print(
        f"{status.get('nodes_active', 0)} of {status.get('nodes_wanted', 0)} nodes are active, "
        f"{status.get('apps_running', 0)} of {status.get('apps_wanted', 0)} applications run, "
        f"Kafka is at {bootstrap}.",
        soft_wrap=True,
    )
    console.print("Next:")
    for command, what in (
        ("nodes list", "which nodes there are and what runs on them"),
        ("monitor watch", "who falls silent and who comes back, as it happens"),
        ("events tail", "every fact and decision, as it is written"),
        ("down", "stop everything; the data stays"),
    ):
        console.print(f"  python cli.py {command:<14} {what}", soft_wrap=True)


def _rows(run: dict[str, Any]) -> Iterable[tuple[str, str, str, str]]:
    for child in run.get("children", []):
        if not child["once"]:
            yield child["name"], str(child["pid"] or ""), child["note"], child["state"]
