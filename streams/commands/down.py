"""`cli.py down`: stop what `up` started, wherever it runs. Part of the shell."""

from __future__ import annotations

import click


@click.command()
@click.option("--data-dir", help="Folder of the `up` to stop.")
def down(data_dir: str | None) -> None:
    """Stop the running `up`, in the foreground elsewhere or detached, and wait until all of it is gone.

    What a killed `up` left is stopped too. The data stays.
    """
    from streams.local.launch import stop_running
    from streams.settings import load_settings

    stop_running(load_settings(data_dir=data_dir), click.echo)
