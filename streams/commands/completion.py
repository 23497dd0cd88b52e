"""`cli.py completion`: the script that makes a shell complete our commands. Part of the shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from streams.commands import CommandError
from streams.commands.shared import HelpfulCommand


@click.command(cls=HelpfulCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Print the completion script for SHELL.

    \b
    It completes the word `cli.py` when that is run by its path (`./cli.py`) or an alias of that name:
      alias cli.py='.venv/bin/python cli.py'
      source <(cli.py completion bash)
    """
    root = ctx.find_root()
    completer = get_completion_class(shell)
    if completer is None:
        raise CommandError(f"There is no completion for {shell}.")
    name = root.info_name or "cli.py"
    click.echo(completer(root.command, {}, name, "_CLI_PY_COMPLETE").source())
