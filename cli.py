"""The command line of Watchkeep: parse, call, print. On top of everything; nothing imports it.

1. Command modules are imported only when their command runs, so `--help` stays under 150 ms.
2. Commands raise `CommandError`; here it becomes one plain sentence on stderr and an exit code.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

PROJECT_ROOT = Path(__file__).resolve().parent

# Started with the machine's own Python: go on with the one that scripts/setup made, whatever else is installed.
_own_python = PROJECT_ROOT / ".venv" / "bin" / "python"
if __name__ == "__main__" and _own_python.exists() and Path(sys.prefix) != PROJECT_ROOT / ".venv":
    os.execv(_own_python, [str(_own_python), *sys.argv])

try:
    import click
except ModuleNotFoundError:
    sys.exit("The packages of Watchkeep are not installed here; run scripts/setup first.")

#: Must lie beside this file: their names are also those of other people's packages.
PACKAGES = ("streams", "agents", "tables", "sdk")


if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class LazyCommand(NamedTuple):
    """Where a command lives and what the overview says about it, known without importing it."""

    #: `module:attribute` of a click command.
    target: str
    #: One line for the overview of all commands.
    help: str


COMMANDS: dict[str, LazyCommand] = {
    "up": LazyCommand("streams.commands.up:up", "Start Kafka, workers, provisioner and nodes."),
    "down": LazyCommand("streams.commands.down:down", "Stop what `up` started."),
    "doctor": LazyCommand("streams.commands.doctor:doctor", "Check this machine and the running platform."),
    "config": LazyCommand("streams.commands.config:config", "Show each setting and where it came from."),
    "nodes": LazyCommand("streams.commands.nodes:nodes", "List, show, create and shut down nodes."),
    "pools": LazyCommand("streams.commands.pools:pools", "List, show and set pools: nodes, bounds, spares."),
    "apps": LazyCommand("streams.commands.apps:apps", "Run, list, scale, stop and restart applications."),
    "services": LazyCommand("streams.commands.services:services", "Apply, list, show and restart services."),
    "sensors": LazyCommand("streams.commands.sensors:sensors", "Register, bind, read and simulate sensors."),
    "notifications": LazyCommand(
        "streams.commands.notifications:notifications", "Watch what apps tell people, and answer."
    ),
    "controllers": LazyCommand(
        "streams.commands.controllers:controllers", "Register, bind, set and simulate controllers."
    ),
    "db": LazyCommand("streams.commands.db:db", "Print the Node DB or the Monitoring DB."),
    "monitor": LazyCommand("streams.commands.monitor:monitor", "Who beats and who is silent."),
    "topics": LazyCommand("streams.commands.topics:topics", "Check the topics on Kafka."),
    "events": LazyCommand("streams.commands.events:events", "Follow, show and replay the log."),
    "state": LazyCommand("streams.commands.state:state", "The tables as they were at an offset or a time."),
    "diff": LazyCommand(
        "streams.commands.diff:diff", "What differs between two moments, and since which event."
    ),
    "timeline": LazyCommand("streams.commands.timeline:timeline", "What happened to one node or app."),
    "bisect": LazyCommand("streams.commands.bisect:bisect", "The first event after which something holds."),
    "explain": LazyCommand(
        "streams.commands.explain:explain", "What an event rests on, and whether that holds."
    ),
    "verify": LazyCommand(
        "streams.commands.verify:verify", "Fold the whole log and compare with the tables."
    ),
    "capsule": LazyCommand(
        "streams.commands.capsule:capsule", "Save an incident as one file, and replay it without Kafka."
    ),
    "fork": LazyCommand("streams.commands.fork:fork", "Go on from a moment in the simulator, with faults."),
    "whatif": LazyCommand(
        "streams.commands.whatif:whatif", "Decide a recorded stretch again under other rules."
    ),
    "backtest": LazyCommand(
        "streams.commands.backtest:backtest", "Try a policy on recordings; fails if it restarts more falsely."
    ),
    "simulate": LazyCommand(
        "streams.commands.simulate:simulate", "Break the platform in virtual time, by seed."
    ),
    "completion": LazyCommand(
        "streams.commands.completion:completion", "Print the completion for your shell."
    ),
}

EXAMPLES = """\b
Examples:
  python cli.py up                  start everything, Ctrl-C stops it
  python cli.py up --demo           the same, with the example applications
  python cli.py nodes list          which nodes there are and what runs on them
  python cli.py events tail         what happens, as it happens
  python cli.py down                stop a detached `up`

\b
Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 unhealthy, 5 cannot reach Kafka."""


class LazyGroup(click.Group):
    """A group that knows names and help of its commands and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which the overview shows them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command and return the command."""
        del ctx
        entry = COMMANDS.get(cmd_name)
        return _import_command(cmd_name, entry) if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table above, without importing anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, without importing them."""
        from click.shell_completion import CompletionItem

        del ctx
        return [CompletionItem(n, help=c.help) for n, c in COMMANDS.items() if n.startswith(incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a `CommandError` becomes one sentence and an exit code."""
        from streams.commands import CommandError

        try:
            return super().invoke(ctx)
        except CommandError as error:
            click.echo(f"Error: {error.message}", err=True)
            ctx.exit(error.exit_code)


def _import_command(name: str, entry: LazyCommand) -> click.Command:
    from importlib import import_module

    module_name, attribute = entry.target.split(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise click.ClickException(f"`{name}` is not part of this version.") from error
    command = getattr(module, attribute)
    if not isinstance(command, click.Command):
        raise TypeError(f"{entry.target} is not a click command")
    return command


def check_packages() -> None:
    """Stop with one sentence if the four packages do not lie beside this file."""
    missing = [name for name in PACKAGES if not (PROJECT_ROOT / name / "__init__.py").is_file()]
    if missing:
        sys.exit(f"cli.py belongs into a checkout of Watchkeep: {', '.join(missing)} missing beside it.")
    if str(PROJECT_ROOT) not in sys.path:
        sys.path.insert(0, str(PROJECT_ROOT))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EXAMPLES,
)
@click.version_option("0.1.0", prog_name="watchkeep", message="%(prog)s %(version)s")
def main() -> None:
    """Watchkeep hands out nodes, notices what falls silent and brings it back."""


if __name__ == "__main__":
    check_packages()
    main(prog_name="cli.py")
