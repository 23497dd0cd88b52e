"""Each command that the pages tell a person to type exists, with these options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

import cli
from tests.docs.pages import ROOT, pages

#: A command, up to the end of its line or of the code it is quoted in.
_COMMAND = re.compile(r"python3? cli\.py ([^`\n]+)")
_SCRIPT = re.compile(r"(?<![\w./-])(scripts/[a-z]+(?:-[a-z]+)*)((?: --[a-z-]+)*)")


def shown_commands() -> list[tuple[str, str]]:
    """(page, arguments) of every `python cli.py ...`, without what a shell does with it."""
    found = []
    for page in pages():
        for arguments in _COMMAND.findall(page.read_text(encoding="utf-8")):
            bare = re.split(r" [|>#&]|  ", arguments)[0]
            found.append((page.name, bare.strip()))
    return found


def check_command(arguments: list[str]) -> None:
    """Parse `arguments` as `cli.py` would, without running anything.

    Raises:
        click.UsageError: there is no such command, option or choice.
    """
    command: click.Command = cli.main
    context = click.Context(command, info_name="cli.py")
    while isinstance(command, click.Group) and arguments:
        if command.invoke_without_command and arguments[0].startswith("-"):
            # An option of the group itself, as in `verify --hashes`.
            command.make_context(command.name, arguments, parent=context.parent)
            return
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None, f"no command {name}"
        command = found
        context = click.Context(command, info_name=name, parent=context)
    if not isinstance(command, click.Group):
        command.make_context(command.name, arguments, parent=context.parent)


@pytest.mark.parametrize(("page", "arguments"), sorted(set(shown_commands())))
def test_command_parses_when_typed_as_shown(
    page: str, arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command in a page is one that cli.py takes."""
    for name in ("log.jsonl", "night.jsonl.zst", "policy.toml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)

    try:
        check_command(shlex.split(arguments))
    except click.UsageError as error:
        pytest.fail(f"{page}: python cli.py {arguments}: {error.format_message()}")


def test_check_fails_when_an_option_is_made_up() -> None:
    """The check of the test above can fail."""
    with pytest.raises(click.UsageError, match="--made-up"):
        check_command(["nodes", "list", "--made-up"])
    with pytest.raises(click.UsageError, match="--made-up"):
        check_command(["verify", "--made-up"])
    with pytest.raises(click.UsageError, match="nodez"):
        check_command(["nodez"])


def test_pages_show_commands_of_every_group() -> None:
    """No command of the overview is left out of the pages."""
    shown = {arguments.split()[0] for _, arguments in shown_commands()}

    assert set(cli.COMMANDS) <= shown


def test_scripts_exist_when_named() -> None:
    """A script in a page is there and can be run, and what `scripts/up` is given are options of `up`."""
    for page in pages():
        for script, options in _SCRIPT.findall(page.read_text(encoding="utf-8")):
            path = ROOT / script
            assert path.is_file(), f"{page.name}: {script}"
            assert path.stat().st_mode & 0o100, f"{page.name}: {script} cannot be run"
            if script == "scripts/up":
                check_command(["up", *options.split()])
