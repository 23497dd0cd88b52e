"""A recording decided again, for people. Pure."""

from __future__ import annotations

from collections.abc import Callable

from streams.render import clock, duration, stamp, table
from streams.travel.silences import Silence, Totals
from streams.travel.verdicts import Column, Comparison

#: Silences told one by one; `-o json` has all of them.
_TOLD_MAX = 20
#: What every output says.
OWNERSHIP = (
    "The recording belongs to the old decisions: each silence is judged on its own, "
    "against the beats that were recorded after it."
)


def comparison_text(found: Comparison) -> str:
    """What was recorded and what other rules find, side by side."""
    column = found.columns[0]
    rows = [
        [
            name,
            number(found.recorded),
            number(column.totals),
            _difference(name, found.recorded, column.totals),
        ]
        for name, number in _ROWS.items()
    ]
    lines = [*_head(found), _rules_words(found, column), ""]
    lines.append(table(["", "RECORDED", "AGAIN", "DIFFERENCE"], rows))
    if column.is_same:
        lines.append("No difference.")
    else:
        lines.append(_saved_words(column))
        lines += _silence_lines("Found by these rules only:", column.new)
        lines += _silence_lines("In the recording only:", column.missing)
    return "\n".join([*lines, *_notes(found), OWNERSHIP])


def sweep_text(found: Comparison, key: str, plot: str) -> str:
    """A table over several values, and its plot."""
    head = [key, "SILENCES", "FALSE", "TRUE", "UNKNOWABLE", "RESTARTS", "FALSELY", "DOWNTIME", "SAVED"]
    rows = [["recorded", *_cells(found.recorded), ""]]
    rows += [
        [str(column.changes[key]), *_cells(column.totals), _seconds(column.saved_ms)]
        for column in found.columns
    ]
    return "\n".join([*_head(found), "", table(head, rows), "", plot, *_notes(found), OWNERSHIP])


def silence_words(silence: Silence) -> str:
    """One silence in one line."""
    what = f"{silence.kind} {silence.source}" + (f" epoch {silence.epoch}" if silence.epoch else "")
    outcome: str = silence.outcome
    if silence.outcome == "false":
        outcome += f", it beat again {duration(max(0, silence.returned_ms - silence.found_ms))} later"
    restarts = f", {silence.restarts} apps started again" if silence.restarts else ""
    held = ", held back" if silence.held else ""
    return (
        f"{clock(silence.found_ms)}  {what}, heartbeat {silence.partition}/{silence.until_offset}, "
        f"silent for {silence.silent_ms / 1_000:.1f} s: {outcome}{restarts}{held}"
    )


def _head(found: Comparison) -> list[str]:
    length = duration(max(0, found.end_ms - found.begin_ms))
    return [
        f"{found.events} events and {found.beats} heartbeats from {stamp(found.begin_ms)}, {length}, decided again"
    ]


def _rules_words(found: Comparison, column: Column) -> str:
    if not column.changes:
        return "with the policy that was in force"
    changes = [f"{key} = {value} (was {getattr(found.policy, key)})" for key, value in column.changes.items()]
    return f"with {', '.join(changes)}"


def _notes(found: Comparison) -> list[str]:
    notes = []
    if not found.has_recoveries:
        notes.append("No restart was recorded: downtime counts until a silence is found.")
    if found.set_back:
        notes.append(
            "The broker's clock was set back during the recording: "
            "events and heartbeats around there are out of order, and so are the verdicts."
        )
    if any(key.startswith("brake_") for column in found.columns for key in column.changes):
        notes.append("How many nodes were overdue is as recorded; the brake is asked with these numbers.")
    return notes


def _saved_words(column: Column) -> str:
    if not column.saved_ms:
        return "No downtime saved or lost."
    word = "saved" if column.saved_ms > 0 else "lost"
    return f"{abs(column.saved_ms) / 1_000:.1f} s of downtime {word}, summed over apps."


def _silence_lines(title: str, silences: list[Silence]) -> list[str]:
    if not silences:
        return []
    lines = [title, *(f"  {silence_words(silence)}" for silence in silences[:_TOLD_MAX])]
    if len(silences) > _TOLD_MAX:
        lines.append(f"  and {len(silences) - _TOLD_MAX} more; `-o json` has all of them")
    return lines


def _seconds(ms: int) -> str:
    return f"{ms / 1_000:.1f} s"


_ROWS: dict[str, Callable[[Totals], str]] = {
    "silences": lambda totals: str(totals.silences),
    "  false": lambda totals: str(totals.false),
    "  true": lambda totals: str(totals.true),
    "  unknowable": lambda totals: str(totals.unknowable),
    "restarts": lambda totals: str(totals.restarts),
    "  of what lived": lambda totals: str(totals.false_restarts),
    "  waiting for a new node": lambda totals: str(totals.waiting),
    "downtime": lambda totals: _seconds(totals.downtime_ms),
}


def _difference(name: str, before: Totals, after: Totals) -> str:
    if name == "downtime":
        difference_ms = after.downtime_ms - before.downtime_ms
        return f"{difference_ms / 1_000:+.1f} s" if difference_ms else ""
    difference = int(_ROWS[name](after)) - int(_ROWS[name](before))
    return f"{difference:+d}" if difference else ""


def _cells(totals: Totals) -> list[str]:
    numbers = [totals.silences, totals.false, totals.true, totals.unknowable]
    numbers += [totals.restarts, totals.false_restarts]
    return [*map(str, numbers), _seconds(totals.downtime_ms)]
