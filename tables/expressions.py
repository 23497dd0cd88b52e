"""Expressions about a state, such as `app application-7 on node-127.0.0.1_8085`: parsed, never executed. Pure.

    expression = both { "or" both }
    both       = one { "and" one }
    one        = "not" one | "(" expression ")" | statement
    statement  = ("node" | "app" | "pool" | "source" | "service") ID claim
               | "brake" "is" ("on" | "off")
               | ("nodes" | "apps" | "pools" | "sources") [ WORD ] COMPARE NUMBER       counts rows
    claim      = "is" WORD | "exists" | "on" NODE (apps) | FIELD COMPARE VALUE
    COMPARE    = "=" | "!=" | "<" | "<=" | ">" | ">="

A statement about a row that does not exist is false, `not` of it is true.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from tables.rows import ONLY, TABLES, AppRow, BrakeRow, Row

#: Rows by table and key: the tables of a state, or what is known of them.
Rows = Mapping[str, Mapping[str, Row]]
#: A row that an expression looks at.
Place = tuple[str, str]

#: Longest expression. Source: a person writes it; and nesting is bounded with it.
LENGTH_MAX = 2_000
DEPTH_MAX = 50

_TOKEN = re.compile(r"\s*(?:(?P<symbol><=|>=|!=|[()=<>])|(?P<word>[^\s()=<>!]+)|(?P<bad>\S))")
_TABLES = {"node": "nodes", "app": "apps", "service": "apps", "pool": "pools", "source": "sources"}
_COUNTED = ("nodes", "apps", "pools", "sources")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: Words after `is` that are the value of a field, and those that are a field that is true.
_STATUS_FIELD = {"nodes": "status", "apps": "phase"}
_STATUSES = {
    "nodes": ("active", "down", "left"),
    "apps": ("pending", "placed", "running", "condemned", "ended", "finished", "stopped"),
}


class ExpressionError(ValueError):
    """What was written is no expression; the text says where and what is allowed."""


class Expression(NamedTuple):
    """A parsed expression."""

    text: str
    #: Whether it holds of some rows.
    holds: Callable[[Rows], bool]
    #: The rows it looks at; None if it counts, and so looks at all of them.
    places: frozenset[Place] | None


@dataclass(frozen=True)
class _Part:
    holds: Callable[[Rows], bool]
    places: frozenset[Place] | None


def parse_expression(text: str) -> Expression:
    """The expression in a text.

    Raises:
        ExpressionError: it is none.
    """
    if len(text) > LENGTH_MAX:
        raise ExpressionError(f"the expression has {len(text)} characters; allowed: up to {LENGTH_MAX}")
    parser = _Parser(_tokens(text))
    part = parser.either(0)
    parser.end()
    return Expression(text, part.holds, part.places)


def _tokens(text: str) -> list[str]:
    found = []
    for match in _TOKEN.finditer(text):
        if match["bad"]:
            raise ExpressionError(
                f"{match['bad']!r} at character {match.start('bad') + 1} is no part of an expression"
            )
        found.append(match["symbol"] or match["word"])
    return found


class _Parser:
    """Goes through the words once, from the left."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0

    # --- and, or, not -------------------------------------------------------------------------------

    def either(self, depth: int) -> _Part:
        """Parts joined by `or`."""
        if depth > DEPTH_MAX:
            raise ExpressionError(f"nested too deeply; allowed: {DEPTH_MAX} levels")
        parts = [self._both(depth)]
        while self._take("or"):
            parts.append(self._both(depth))
        return _join(parts, any)

    def _both(self, depth: int) -> _Part:
        parts = [self._one(depth)]
        while self._take("and"):
            parts.append(self._one(depth))
        return _join(parts, all)

    def _one(self, depth: int) -> _Part:
        if self._take("not"):
            if depth > DEPTH_MAX:
                raise ExpressionError(f"nested too deeply; allowed: {DEPTH_MAX} levels")
            part = self._one(depth + 1)
            return _Part(lambda rows: not part.holds(rows), part.places)
        if self._take("("):
            part = self.either(depth + 1)
            self._expect(")")
            return part
        return self._statement()

    # --- statements ---------------------------------------------------------------------------------

    def _statement(self) -> _Part:
        kind = self._next("a statement such as `node node-127.0.0.1_8085 is down`")
        if kind == "brake":
            return self._brake()
        if kind in _COUNTED:
            return self._count(kind)
        if kind not in _TABLES:
            raise ExpressionError(
                f"{kind!r:.60} begins no statement; allowed: {', '.join((*_TABLES, *_COUNTED, 'brake'))}, not, ("
            )
        table, key = _TABLES[kind], self._next(f"the id of the {kind}")
        test = self._claim(table)
        return _Part(
            lambda rows: (row := rows[table].get(key)) is not None and test(row), frozenset({(table, key)})
        )

    def _brake(self) -> _Part:
        self._expect("is")
        word = self._next("on or off")
        if word not in ("on", "off"):
            raise ExpressionError(f"the brake is on or off, not {word!r:.60}")

        def holds(rows: Rows) -> bool:
            row = rows["brake"].get(ONLY)
            return (isinstance(row, BrakeRow) and row.engaged >= 0) is (word == "on")

        return _Part(holds, frozenset({("brake", ONLY)}))

    def _count(self, table: str) -> _Part:
        word = self._next("a word or a comparison")
        test: Callable[[Row], bool] = lambda _row: True  # noqa: E731  # it stands in for a test of a word
        if word not in _COMPARE:
            test = _word_test(table, word)
            word = self._next("a comparison")
        compare = _comparison(word)
        number = _value(self._next("a number"), of="number", field="how many")
        return _Part(
            lambda rows: compare(sum(test(row) for row in rows[table].values()), number),
            None,
        )

    def _claim(self, table: str) -> Callable[[Row], bool]:
        word = self._next("`is`, `on`, `exists` or a field")
        if word == "exists":
            return lambda _row: True
        if word == "is":
            return _word_test(table, self._next("a status"))
        if word == "on":
            if table != "apps":
                raise ExpressionError("only an app is on a node")
            node = self._next("the id of a node")
            return lambda row: (
                isinstance(row, AppRow)
                and row.node == node
                and row.phase in ("placed", "running", "condemned")
            )
        fields = _plain_fields(table)
        if word not in fields:
            raise ExpressionError(f"{table} have no field {word!r:.60}; allowed: {', '.join(sorted(fields))}")
        kind = fields[word]
        compare_word = self._next("a comparison")
        compare = _comparison(compare_word)
        if kind != "number" and compare_word not in ("=", "!="):
            raise ExpressionError(f"{word} is no number: only = and != compare it")
        value = _value(self._next("a value"), of=kind, field=word)
        return lambda row: compare(getattr(row, word), value)

    # --- words --------------------------------------------------------------------------------------

    def _next(self, what: str) -> str:
        if self._at == len(self._words):
            raise ExpressionError(f"the expression ends where {what} is missing")
        self._at += 1
        return self._words[self._at - 1]

    def _take(self, word: str) -> bool:
        found = self._at < len(self._words) and self._words[self._at] == word
        self._at += found
        return found

    def _expect(self, word: str) -> None:
        got = self._next(f"`{word}`")
        if got != word:
            raise ExpressionError(f"{got!r:.60} stands where `{word}` is missing")

    def end(self) -> None:
        """Nothing may follow."""
        if self._at < len(self._words):
            raise ExpressionError(
                f"{self._words[self._at]!r:.60} follows a whole expression; join two with `and` or `or`"
            )


def _join(parts: list[_Part], how: Callable[[Any], bool]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    places: frozenset[Place] | None = frozenset()
    for part in parts:
        places = None if places is None or part.places is None else places | part.places
    return _Part(lambda rows: how(part.holds(rows) for part in parts), places)


def _word_test(table: str, word: str) -> Callable[[Row], bool]:
    """A test for a status, or for a field that is true or not."""
    if word in _STATUSES.get(table, ()):
        field = _STATUS_FIELD[table]
        return lambda row: bool(getattr(row, field) == word)
    flags = {name.replace("_", "-"): name for name, kind in _plain_fields(table).items() if kind == "flag"}
    if word not in flags:
        allowed = (*_STATUSES.get(table, ()), *sorted(flags))
        raise ExpressionError(f"{table} are never {word!r:.60}; allowed: {', '.join(allowed)}")
    field = flags[word]
    return lambda row: bool(getattr(row, field))


def _comparison(word: str) -> Callable[[Any, Any], bool]:
    if word not in _COMPARE:
        raise ExpressionError(f"{word!r:.60} is no comparison; allowed: {' '.join(_COMPARE)}")
    return _COMPARE[word]


def _value(word: str, *, of: str, field: str) -> int | str | bool:
    if of == "number":
        if not re.fullmatch(r"-?\d{1,18}", word):
            raise ExpressionError(f"{field} is compared with a number, not with {word!r:.60}")
        return int(word)
    if of == "flag":
        if word not in ("true", "false"):
            raise ExpressionError(f"{field} is true or false, not {word!r:.60}")
        return word == "true"
    return word


def _plain_fields(table: str) -> dict[str, str]:
    """The fields of a table's rows that can be compared, with what they are."""
    words = {int: "number", str: "word", bool: "flag"}
    kinds = {}
    for field in msgspec.structs.fields(TABLES[table]):
        kind = words.get(field.type)
        if kind is None and field.name in _STATUS_FIELD.values():
            kind = "word"
        if kind is not None:
            kinds[field.name] = kind
    return kinds
