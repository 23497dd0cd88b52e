"""Makes docs/sdk/reference.md of the SDK's docstrings: `python -m tests.docs.sdk_reference`."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "sdk" / "reference.md"
#: Modules of the reference, by import name, and what of each is for authors; None: all that is public.
MODULES: dict[str, tuple[str, ...] | None] = {
    "sdk.app": ("App", "AppSensor", "AppController"),
    "sdk.sensors": None,
    "sdk.sensor_stream": ("Point", "SensorStream"),
    "sdk.sensor_errors": None,
    "sdk.controllers": None,
    "sdk.command_handle": ("Handle",),
    "sdk.controller_device": ("Rejected", "serve"),
    "sdk.controller_errors": None,
    "sdk.notifications": None,
    "sdk.outbox_errors": None,
    "sdk.heartbeat": None,
    "sdk.testing": None,
    "sdk.testing.platform": None,
    "sdk.testing.leader": ("Command",),
    "sdk.testing.plugin": None,
}
_HEAD = """# Reference of the SDK

Made from docstrings by `python -m tests.docs.sdk_reference`; a test fails when it is not current. The
[tutorial](tutorial.md) shows how it is used.

Times with `_s` are seconds, with `_ms` milliseconds; `at_ms` is UTC. Each module says what it does when Kafka is away.
"""
#: Methods with two underscores that an author never writes.
_SHOWN = ("__init__", "__getitem__")


def create_page() -> str:
    """The text of the page."""
    return "\n".join([_HEAD, *(_module(name, wanted) for name, wanted in MODULES.items())])


def _module(name: str, wanted: tuple[str, ...] | None) -> str:
    path = ROOT / name.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = [f"## {name}\n", _text(tree)]
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not _is_private(
            node.name
        ):
            if wanted is not None and node.name not in wanted:
                continue
            parts.append(_class(node) if isinstance(node, ast.ClassDef) else _function(node, level=3))
    return "\n".join(parts)


def _class(node: ast.ClassDef) -> str:
    parts = [f"### class {node.name}\n", _text(node)]
    parts += [
        _function(each, level=4)
        for each in node.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        and (not _is_private(each.name) or each.name in _SHOWN)
    ]
    return "\n".join(parts)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, *, level: int) -> str:
    is_property = any(isinstance(it, ast.Name) and it.id == "property" for it in node.decorator_list)
    arguments = re.sub(r"^self(, )?", "", ast.unparse(node.args))
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    word = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    shown = (
        f"{node.name}{returns.replace(' ->', ':')}" if is_property else f"{node.name}({arguments}){returns}"
    )
    return f"{'#' * level} {node.name}\n\n    {word}{shown}\n\n{_text(node)}"


def _text(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The docstring; its parts (Args, Raises) become lists."""
    lines = []
    in_part = False
    for line in (ast.get_docstring(node) or "").splitlines():
        if match := re.fullmatch(r"(Args|Returns|Raises|Yields):", line):
            lines += [f"*{match[1]}*", ""]
            in_part = True
        elif in_part and line.startswith("    "):
            item = line[4:]
            lines.append(
                f"  {item.strip()}" if item.startswith(" ") else re.sub(r"^([\w, ]+?): ", r"- `\1`: ", item)
            )
        else:
            in_part = in_part and not line.strip()
            lines.append(line)
    # Named without arguments, so not as something to be typed.
    text = re.sub(r"`python (cli\.py \w+ \w+)`", r"`\1`", "\n".join(lines))
    return textwrap.dedent(text).rstrip() + "\n"


def _is_private(name: str) -> bool:
    return name.startswith("_")


def main() -> None:
    """Write the page."""
    Path(PAGE).write_text(create_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
