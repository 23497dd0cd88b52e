"""Specs of apps from the arguments of `apps run`. Shell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streams.commands import USAGE, CommandError

if TYPE_CHECKING:
    from sdk.contract.specs import AppSpec

Command = TypeVar("Command", bound=Callable[..., Any])


def placing_options(command: Command) -> Command:
    """Options of what an app needs, where it wants to be and how it is watched; named as in the spec."""
    for option in reversed((*_PLACING, *_RUNNING)):
        command = option(command)
    return command


_PLACING = (
    click.option("--slots", type=int, default=1, show_default=True, help="Room it takes."),
    click.option(
        "--cpu", "cpu_percent", type=int, default=0, metavar="N", help="Hundredths of a core that it needs."
    ),
    click.option("--memory", "memory_mib", type=int, default=0, metavar="MIB", help="Memory that it needs."),
    click.option(
        "--priority", type=int, default=50, show_default=True, help="0 to 100: who gets the last room."
    ),
    click.option("--group", default="", metavar="NAME", help="What it is a copy of; copies are spread."),
    click.option(
        "--spread/--no-spread", default=True, show_default=True, help="Keep copies of a group apart."
    ),
    click.option(
        "--constraint",
        "constraints",
        multiple=True,
        metavar="KEY=VALUE",
        help="Only nodes with pool, node, ip or driver = VALUE, or != VALUE; may be given often.",
    ),
    click.option("--affinity", default="", metavar="GROUP", help="Rather where this group runs."),
    click.option(
        "--needs-service",
        "needs_services",
        multiple=True,
        metavar="NAME",
        help="Start it only once this service runs; may be given often.",
    ),
    click.option(
        "--restart",
        type=click.Choice(["always", "on-failure", "never"]),
        default="always",
        show_default=True,
        help="Run it again when it ends by itself: always, not after an exit with 0, or never.",
    ),
)

_RUNNING = (
    click.option(
        "--heartbeat",
        type=click.Choice(["sdk", "process", "http"]),
        default=None,
        help="Its beat: its own heart_beat() (sdk, usual), that it lives (process), or that a page answers (http).",
    ),
    click.option(
        "--http",
        metavar="PORT/PATH",
        help="The page whose answers are its beats; port 0: one is chosen and is in $WATCHKEEP_PORT.",
    ),
    click.option(
        "--readiness", metavar="PORT/PATH", help="The page that must answer once before it counts as started."
    ),
    click.option(
        "--cpu-limit",
        "cpu_limit_percent",
        type=int,
        default=0,
        metavar="N",
        help="Most hundredths of a core.",
    ),
    click.option(
        "--memory-limit", "memory_limit_mib", type=int, default=0, metavar="MIB", help="Most memory."
    ),
)


def make_specs(
    name: str,
    command: tuple[str, ...],
    *,
    kind: str,
    count: int | None = None,
    env: tuple[str, ...] = (),
    constraints: tuple[str, ...] = (),
    wish: Mapping[str, Any],
) -> list[AppSpec]:
    """The specs that the arguments ask for; `wish` has the fields that are taken as they are.

    Raises:
        CommandError: something is not right; the message names it.
    """
    import msgspec

    from sdk.contract.ids import check_name
    from sdk.contract.specs import AppSpec, check_spec, parse_constraint

    if not command:
        raise CommandError("What shall it run? Write `apps run NAME -- COMMAND ARGUMENTS`.", USAGE)
    pairs = [pair.partition("=") for pair in env]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise CommandError(f"--env {bad[0]} needs a value: --env {bad[0]}=VALUE.", USAGE)
    bare = name.removeprefix(f"{kind}-")
    names = [bare] if count is None else [f"{bare}-{number}" for number in range(1, count + 1)]
    try:
        fields = {
            **_with_pages(wish),
            "command": list(command),
            "env": {key: value for key, _, value in pairs},
            "constraints": [msgspec.to_builtins(parse_constraint(text)) for text in constraints],
        }
        specs = [
            msgspec.convert({**fields, "app": f"{kind}-{check_name(name, what=kind)}"}, AppSpec)
            for name in names
        ]
        for spec in specs:
            check_spec(spec)
    except ValueError as error:
        raise CommandError(f"{error}.", USAGE) from None
    return specs


def _with_pages(wish: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with their pages read; `--http` alone says what the heartbeat is.

    Raises:
        ValueError: a page is none.
    """
    fields = dict(wish)
    for word in ("http", "readiness"):
        text = fields.pop(word, None)
        if text is not None:
            port, slash, path = text.partition("/")
            if not port.isascii() or not port.isdigit():
                raise ValueError(f"--{word}: {text!r:.80} is no page; write PORT/PATH, such as 8000/health")
            fields[word] = {"port": int(port[:9]), "path": f"/{path}" if slash else "/"}
    if fields.get("heartbeat") is None:
        fields["heartbeat"] = "http" if "http" in fields else "sdk"
    return fields
