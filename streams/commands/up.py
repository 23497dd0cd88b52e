"""`cli.py up`: start everything and supervise it. Part of the shell."""

from __future__ import annotations

import click

from streams.commands import CommandError
from streams.commands.shared import HelpfulCommand


@click.command(cls=HelpfulCommand)
@click.option("--demo", is_flag=True, help="Also run the applications under examples/.")
@click.option("--detach", is_flag=True, help="Run in the background; return when everything is green.")
@click.option("--nodes", type=int, help="Nodes at the very first start.")
@click.option("--workers", type=int, help="Worker processes.")
@click.option("--slots", type=int, help="Apps that one node takes.")
@click.option("--kafka-port", type=int, help="Port of our own Kafka.")
@click.option("--kafka-controller-port", type=int, help="Port of its controller.")
@click.option("--kafka-version", help="Version of our own Kafka.")
@click.option("--bootstrap-servers", help="Use this Kafka instead of our own.")
@click.option("--data-dir", help="Folder of everything that is kept.")
@click.option("--prefix", help="First part of every topic name.")
@click.option("--log-level", help="What workers write to their logs.")
@click.pass_context
def up(ctx: click.Context, /, *, demo: bool, detach: bool, **flags: object) -> None:
    r"""Start Kafka, topics, workers, the provisioner and the nodes, and keep them running.

    Ctrl-C stops everything in order; the data stays, and the next start goes on from it.

    \b
    Examples:
      python cli.py up --demo                          with the example applications
      python cli.py up --detach                        in the background, for scripts
      KAFKA_BOOTSTRAP_SERVERS=host:9092 python cli.py up    on another Kafka
    """
    from streams.local.launch import prepare, run_detached, run_in_foreground
    from streams.local.screen import Screen
    from streams.settings import load_settings

    settings = load_settings(**flags)
    try:
        with Screen() as screen:
            plan, lock = prepare(settings, screen, demo=demo)
        if not detach:
            run_in_foreground(settings, plan, lock)
        supervisor = run_detached(settings, plan, lock)
    except OSError as error:
        raise _plain_error(error) from error
    from streams.local.viewer import watch

    try:
        code = watch(settings, supervisor=supervisor)
    except KeyboardInterrupt:
        raise CommandError("It goes on starting in the background; `python cli.py down` stops it.") from None
    ctx.exit(code)


def _plain_error(error: OSError) -> CommandError:
    import errno

    if error.errno == errno.ENOSPC:
        return CommandError("The disk is full; free 500 MiB where the data is kept and start again.")
    return CommandError(f"It cannot be started: {error}.")
