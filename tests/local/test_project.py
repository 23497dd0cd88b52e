"""The project file: pinned packages, named packages, and a command line that is light."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from cli import COMMANDS
from streams.settings import PROJECT_ROOT

_PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _name(requirement: str) -> str:
    """Return the name of a requirement as package indexes compare it."""
    return re.split(r"[<>=!~; \[]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_every_dependency_is_pinned() -> None:
    """Each direct dependency has a line with an exact version in constraints.txt."""
    lines = (PROJECT_ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {_name(line) for line in lines if "==" in line}
    wanted = _PROJECT["project"]["dependencies"] + _PROJECT["project"]["optional-dependencies"]["dev"]

    assert [requirement for requirement in wanted if _name(requirement) not in pinned] == []


def test_every_package_is_named() -> None:
    """The packages in pyproject.toml are those that there are."""
    tops = ("agents", "sdk", "streams", "tables")
    there = {
        ".".join(path.parent.relative_to(PROJECT_ROOT).parts)
        for top in tops
        for path in (PROJECT_ROOT / top).rglob("__init__.py")
    }

    assert set(_PROJECT["tool"]["setuptools"]["packages"]) == there


def test_help_imports_no_command() -> None:
    """`--help` shows every command and imports none of their modules, nor anything heavy."""
    program = (
        "import sys, cli\n"
        "try: cli.main(['--help'], prog_name='cli.py')\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'msgspec', 'rich', 'kafka', 'aiokafka', 'faust', 'asyncio'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)), [m for m in sys.modules if m.startswith('streams')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "LOADED [] []"
    assert [name for name in COMMANDS if f"  {name} " not in done.stdout] == []


def test_unknown_command_is_a_usage_error() -> None:
    """A command that does not exist has exit code 2."""
    done = subprocess.run(
        [sys.executable, "cli.py", "nonsense"], cwd=PROJECT_ROOT, capture_output=True, check=False
    )

    assert done.returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for(shell: str) -> None:
    """`completion` prints a script that asks this program."""
    done = subprocess.run(
        [sys.executable, "cli.py", "completion", shell],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "_CLI_PY_COMPLETE" in done.stdout
