"""`cli.py topics`: whether the topics on Kafka are what the platform needs. Shell."""

from __future__ import annotations

import click

from sdk.contract.topics import topic_specs
from streams.commands import CANNOT_REACH_KAFKA, UNHEALTHY, CommandError
from streams.commands.shared import HelpfulGroup, output_option, platform_options, run, settings_of
from streams.render import coloured, table, to_json


@click.group(cls=HelpfulGroup)
def topics() -> None:
    r"""Check the topics on Kafka.

    \b
    Example:
      python cli.py topics check
    """


@topics.command("check")
@output_option("table", "json", "name")
@platform_options
def check(output: str, bootstrap_servers: str | None, prefix: str | None) -> None:
    r"""Compare each topic with what it must be: partitions and settings. Exit code 4 if one is not right.

    \b
    Examples:
      python cli.py topics check
      python cli.py topics check -o json
    """
    from streams.log_source import check_reachable
    from streams.topics import KafkaAwayError, check_topics

    settings = settings_of(bootstrap_servers, prefix)
    # The admin client needs longer to find that out, and leaves a socket open when it does.
    run(check_reachable(settings.bootstrap))
    try:
        found = check_topics(settings.bootstrap, settings.prefix)
    except KafkaAwayError as error:
        raise CommandError(f"{str(error)[:1].upper()}{str(error)[1:]}.", CANNOT_REACH_KAFKA) from None
    faults: dict[str, list[str]] = {}
    for fault in found:
        faults.setdefault(fault.topic, []).append(fault.fault)
    specs = topic_specs(settings.prefix)
    if output == "name":
        click.echo("\n".join(spec.name for spec in specs))
    elif output == "json":
        click.echo(
            to_json(
                [
                    {"topic": spec.name, "partitions": spec.partitions, "faults": faults.get(spec.name, [])}
                    for spec in specs
                ]
            )
        )
    else:
        rows = [
            [spec.name, str(spec.partitions), coloured("ok") if spec.name not in faults else "wrong", words]
            for spec in specs
            for words in ["; ".join(faults.get(spec.name, []))]
        ]
        click.echo(table(["topic", "partitions", "state", "what"], rows))
    if faults:
        raise CommandError(f"{len(faults)} of {len(specs)} topics are not what they must be.", UNHEALTHY)
