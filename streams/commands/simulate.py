"""`cli.py simulate`: failures by the thousand in virtual time, each exactly repeatable from its seed. Shell.

The simulator lives in `tests/simulation` and is imported when the command runs, with the checkout as root.
"""

from __future__ import annotations

import click

from streams.commands import FAILED
from streams.commands.shared import HelpfulCommand


@click.command(cls=HelpfulCommand)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="First seed.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="How many in a row.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0.01),
    help="Go on until this many hours were simulated, instead of a number of seeds.",
)
@click.option("--mutant", help="Switch off this guard first; `list` names them all.")
@click.option("--shrink/--no-shrink", default=True, help="Look for the fewest faults that fail the same way.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Processes to run seeds on; as many as cores if not given."
)
@click.pass_context
def simulate(
    ctx: click.Context,
    seed: int,
    seeds: int,
    hours: float | None,
    mutant: str | None,
    shrink: bool,
    jobs: int | None,
) -> None:
    r"""Run workers, agents and Kafka in virtual time, break them, and judge what happens.

    Nothing real is touched. The exit code is 1 if a checker found something; the last line reproduces it.

    \b
    Examples:
      python cli.py simulate --seed 7
      python cli.py simulate --seed 1 --seeds 2000 --jobs 2
      python cli.py simulate --seed 1 --hours 5
      python cli.py simulate --mutant terms --seed 3
    """
    import logging

    from tests.simulation.parallel import cores
    from tests.simulation.report import say_mutants, simulate_seeds

    logging.disable(logging.WARNING)
    if mutant == "list":
        say_mutants(click.echo)
        return
    good = simulate_seeds(
        click.echo,
        seed=seed,
        seeds=seeds,
        hours=hours,
        mutant=mutant or "",
        shrinking=shrink,
        jobs=jobs or cores(),
    )
    if not good:
        ctx.exit(FAILED)
