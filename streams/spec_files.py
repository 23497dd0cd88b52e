"""Specs as people write them: TOML files with one `[[app]]` table for each app. Shell, but for reading the file pure.

    [[app]]
    name = "pump"                     # the id is application-pump
    command = ["python3", "pump.py"]
    count = 2                         # application-pump-1 and application-pump-2, of the group pump
    constraints = ["pool=away"]

`name`, `kind` (application or service) and `count` are the file's own keys; all others are those of
`sdk.contract.specs.AppSpec`. A file is right as a whole or refused as a whole, with line, key and what is allowed.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from sdk.contract.ids import check_name
from sdk.contract.running import HttpCheck
from sdk.contract.specs import AppSpec, DockerSpec, check_spec, parse_constraint
from streams.commands import USAGE, CommandError

KINDS = ("application", "service")
COUNT_MAX = 1_000

_FIELDS = {field.name for field in msgspec.structs.fields(AppSpec)} - {"app"}
#: Keys of a table.
KEYS = sorted({"name", "kind", "count"} | _FIELDS)

#: Tables in a table, and what may stand in them.
_INNER = {
    key: sorted(field.name for field in msgspec.structs.fields(kind))
    for key, kind in (("docker", DockerSpec), ("http", HttpCheck), ("readiness", HttpCheck))
}

_HEADER = re.compile(r"\s*\[\[\s*app\s*\]\]")
_AT = re.compile(r" - at `\$\.?(\w*)")


class SpecFile(msgspec.Struct, frozen=True):
    """What a file asks for."""

    specs: list[AppSpec]
    #: Id without number -> how many copies there are of it.
    counts: dict[str, int]


class _Constraints(msgspec.Struct):
    """Sentences such as `pool=away`."""

    constraints: list[str]


class _FaultError(ValueError):
    """A key of a table that is not right."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def load_specs(path: Path) -> SpecFile:
    """What the file asks for.

    Raises:
        CommandError: the file cannot be read or something in it is not right; the message says where and what.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path.name} cannot be read: {error}.", USAGE) from None
    return parse_specs(text, name=path.name)


def parse_specs(text: str, *, name: str) -> SpecFile:
    """What the text of a file called `name` asks for.

    Raises:
        CommandError: something in it is not right; the message says where and what.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{name} is not TOML: {error}.", USAGE) from None
    tables = document.pop("app", [])
    if document:
        raise CommandError(f"{name}, {next(iter(document))}: unknown; allowed: [[app]] tables.", USAGE)
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise CommandError(f"{name}, app: not a list of tables; each begins with [[app]].", USAGE)
    specs: dict[str, AppSpec] = {}
    counts: dict[str, int] = {}
    for number, table in enumerate(tables):
        try:
            base, count, copies = _read_table(table, specs)
        except _FaultError as fault:
            where = _line_of(text, number, fault.key.split(".")[0])
            raise CommandError(f"{name}, line {where}, {fault.key}: {fault}.", USAGE) from None
        specs |= {spec.app: spec for spec in copies}
        if count is not None:
            counts[base] = count
    return SpecFile(list(specs.values()), counts)


def _read_table(table: dict[str, Any], others: dict[str, AppSpec]) -> tuple[str, int | None, list[AppSpec]]:
    """Id without number, count if one is given, and the specs of one table."""
    if unknown := [key for key in table if key not in KEYS]:
        raise _FaultError(unknown[0], f"unknown; allowed: {', '.join(KEYS)}")
    if missing := [key for key in ("name", "command") if key not in table]:
        raise _FaultError(missing[0], "is missing")
    for key, allowed in _INNER.items():
        inner = table.get(key)
        if isinstance(inner, dict) and (unknown := [word for word in inner if word not in allowed]):
            raise _FaultError(f"{key}.{unknown[0]}", f"unknown; allowed: {', '.join(allowed)}")
    kind, count = table.get("kind", KINDS[0]), table.get("count")
    if kind not in KINDS:
        raise _FaultError("kind", f"{kind!r:.40} is unknown; allowed: {', '.join(KINDS)}")
    if count is not None and (type(count) is not int or not 0 <= count <= COUNT_MAX):
        raise _FaultError("count", f"{count!r:.40} is out of range; allowed: 0 to {COUNT_MAX}")
    try:
        base = f"{kind}-{check_name(str(table['name']), what='the name')}"
    except ValueError as error:
        raise _FaultError("name", str(error)) from None
    names = [base] if count is None else [f"{base}-{number}" for number in range(1, count + 1)]
    if twice := [app for app in names if app in others]:
        raise _FaultError("name", f"{twice[0]} stands in this file twice")
    if table.get("beats") and count is not None and count > 1:
        raise _FaultError(
            "beats", "copies cannot be told apart in one topic; allowed: with a count of at most 1"
        )
    # Read once at least: a table that asks for no copy must be right too.
    group = {} if count is None else {"group": table["name"]}
    made = [_make_spec(app, {**group, **table}) for app in names or [base]]
    return base, count, made[: len(names)]


def _make_spec(app: str, table: dict[str, Any]) -> AppSpec:
    wish = {key: value for key, value in table.items() if key in _FIELDS}
    try:
        if "constraints" in wish:
            texts = msgspec.convert({"constraints": wish["constraints"]}, _Constraints).constraints
            wish["constraints"] = [msgspec.to_builtins(parse_constraint(text)) for text in texts]
        spec = msgspec.convert({**wish, "app": app}, AppSpec)
        check_spec(spec)
    except msgspec.ValidationError as error:
        at = _AT.search(str(error))
        key, why = at[1] if at else "command", _AT.split(str(error))[0]
        words = get_args(get_type_hints(AppSpec).get(key))
        if "Invalid enum value" in why and words:
            why = f"{wish[key]!r:.40} is unknown; allowed: {', '.join(map(str, words))}"
        raise _FaultError(key, why) from None
    except ValueError as error:
        # Either `field: what is wrong`, or a sentence that begins with the field.
        key, _, why = str(error).partition(": ")
        word = "constraints" if key == "constraint" else key.split(" ")[0]
        raise _FaultError(word, why if word == key else str(error)) from None
    return spec


def _line_of(text: str, number: int, key: str) -> int:
    """The line of a key in the table with that number, or else of the table itself; 1 is the first."""
    lines = text.splitlines()
    headers = [at for at, line in enumerate(lines) if _HEADER.match(line)]
    if number >= len(headers):
        return 1
    first = headers[number]
    last = headers[number + 1] if number + 1 < len(headers) else len(lines)
    wanted = re.compile(rf"""\s*(\[\s*app\s*\.\s*)?["']?{re.escape(key)}["']?\s*[].=]""")
    return next((at for at in range(first, last) if wanted.match(lines[at])), first) + 1
