"""What the commands that read the platform share: options, running a coroutine, times, watching. Shell."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from streams.commands import CommandError
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.shell_completion import CompletionItem

    from streams.log_source import ProgressCallback
    from streams.reading import Reading

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")

#: Pause between two looks of `--watch`, s.
WATCH_EVERY_S = 1.0
#: A bar is shown for what takes longer, s.
BAR_AFTER_S = 1.0

FORMATS = ("table", "json", "name")


class HelpfulCommand(click.Command):
    r"""A command whose docstring is raw: click's mark for examples, `\b`, counts in it all the same."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = _with_marks(self.help)


class HelpfulGroup(click.Group):
    """The same for a group and the commands in it."""

    command_class = HelpfulCommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = _with_marks(self.help)


def _with_marks(text: str | None) -> str | None:
    return None if text is None else text.replace(r"\b", "\b")


def platform_options(command: Command) -> Command:
    """Add the options that say which platform is meant."""
    for option in (
        click.option("--prefix", help="First part of the topic names.", metavar="NAME"),
        click.option("--bootstrap-servers", help="Kafka to use.", metavar="HOST:PORT"),
    ):
        command = option(command)
    return command


def output_option(*formats: str) -> Callable[[Command], Command]:
    """Add `-o`; the first format is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How to print.",
    )


def settings_of(bootstrap_servers: str | None, prefix: str | None) -> Settings:
    """The settings in force with these two flags."""
    flags = {"bootstrap_servers": bootstrap_servers, "prefix": prefix}
    given = {key: value for key, value in flags.items() if value is not None}
    # Laid over the settings in force, so that a flag does not hide what `up` handed to its children.
    return msgspec.structs.replace(where_up_runs(load_settings()), **given)


def where_up_runs(settings: Settings) -> Settings:
    """The settings with Kafka and prefix of the `up` that runs on their data directory.

    `up` may have been given them as flags, which a command in another terminal cannot see. What file or environment
    say about them comes first.
    """
    usual = Settings()
    if (settings.bootstrap, settings.prefix) != (usual.bootstrap, usual.prefix):
        return settings
    from streams.local.rundir import find_holder

    if find_holder(settings.data_path) is None:
        return settings
    try:
        config = next(settings.data_path.glob("provisioner*.json"))
        told = msgspec.json.decode(config.read_bytes(), type=_Told)
    except (StopIteration, OSError, msgspec.MsgspecError):
        return settings
    if (told.bootstrap, told.prefix) == (settings.bootstrap, settings.prefix):
        return settings
    return msgspec.structs.replace(settings, bootstrap_servers=told.bootstrap, prefix=told.prefix)


class _Told(msgspec.Struct):
    """What `up` tells its provisioner, as far as it matters here."""

    bootstrap: str
    prefix: str


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run one coroutine to its end; Ctrl-C ends it quietly."""
    # What a client logs about a broker that is away would stand beside our own plain sentence.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None


def now_ms() -> int:
    """The machine's clock, ms UTC; only for what is shown."""
    return time.time_ns() // 1_000_000


async def read(settings: Settings) -> Reading:
    """The platform's state, with a bar if it takes long."""
    from streams.reading import read_platform

    with progress_bar("folding the log") as bar:
        return await read_platform(settings.bootstrap, settings.prefix, bar)


@contextmanager
def progress_bar(label: str) -> Iterator[ProgressCallback]:
    """A callback that draws a bar on stderr once the work has taken `BAR_AFTER_S`."""
    from contextlib import ExitStack

    started_s = time.monotonic()
    with ExitStack() as stack:
        drawn: list[Any] = []

        def show(done: int, total: int) -> None:
            if not drawn:
                if not sys.stderr.isatty() or time.monotonic() - started_s < BAR_AFTER_S:
                    return
                bar = click.progressbar(length=total, label=label, file=sys.stderr)
                drawn.append(stack.enter_context(bar))
            bar = drawn[0]
            bar.update(done - bar.pos)

        yield show


def warn_unwatched(reading: Reading) -> None:
    """Say on stderr since when nobody has watched, if so."""
    from streams.health import unwatched_words

    words = unwatched_words(reading, now_ms())
    if words:
        click.secho(words, err=True, fg="yellow")


async def watch(look: Callable[[], Coroutine[Any, Any, str]]) -> None:
    """Print what `look` returns again and again: in place on a terminal, else as it changes."""
    if not sys.stdout.isatty():
        before = ""
        while True:
            text = await look()
            if text != before:
                click.echo(text + "\n")
            before = text
            await asyncio.sleep(WATCH_EVERY_S)
    from rich.live import Live
    from rich.text import Text

    with Live(Text.from_ansi(await look()), screen=True, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            live.update(Text.from_ansi(await look()), refresh=True)


# --- positions -----------------------------------------------------------------------------------------

_AGO = re.compile(r"-((?P<d>\d+)d)?((?P<h>\d+)h)?((?P<m>\d+)m(in)?)?((?P<s>\d+)s)?")
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")


class Position(click.ParamType):
    """An offset (`int`) or a point in time (`datetime`)."""

    name = "offset|time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | datetime:
        """Return the offset or the time that a person wrote."""
        if not isinstance(value, str):
            assert isinstance(value, int | datetime)
            return value
        try:
            return parse_position(value, datetime.now(UTC).astimezone())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_position(text: str, now: datetime) -> int | datetime:
    """An offset, or a time: `2026-03-01T14:03:05`, with zone or local; `14:03`; `-5m`.

    Raises:
        ValueError: it is neither.
    """
    if text.isdecimal():
        return int(text)
    ago = _AGO.fullmatch(text)
    if ago is not None and text != "-":
        days, hours, minutes, seconds = (int(ago[unit] or 0) for unit in ("d", "h", "m", "s"))
        return now - timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if _TIME_OF_DAY.fullmatch(text):
        hour, minute, second = (int(part) for part in f"{text}:00".split(":")[:3])
        at = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return at if at <= now else at - timedelta(days=1)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither an offset nor a time; write 1234, 14:03, -5m or 2026-03-01T14:03:05Z"
        ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=now.tzinfo)


def to_ms(at: datetime) -> int:
    """A point in time as ms UTC."""
    return int(at.timestamp() * 1_000)


# --- completion ----------------------------------------------------------------------------------------


def complete_from(pick: Callable[[Reading], list[str]]) -> Callable[..., list[CompletionItem]]:
    """A shell completion from the platform's state; nothing if Kafka is away."""

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from streams.reading import read_platform

        try:
            settings = load_settings()
            reading = run(read_platform(settings.bootstrap, settings.prefix))
        except CommandError:
            return []
        return [CompletionItem(name) for name in sorted(pick(reading)) if name.startswith(incomplete)]

    return complete


complete_nodes = complete_from(lambda reading: list(reading.state.nodes))
complete_apps = complete_from(lambda reading: list(reading.state.apps))
complete_services = complete_from(
    lambda reading: [
        name for name in (*reading.state.apps, *reading.state.bridged) if name.startswith("service-")
    ]
)
