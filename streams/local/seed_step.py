"""The step of `up` that sends the first requests: `python -m streams.local.seed_step [--demo]`. Part of the shell."""

from __future__ import annotations

import sys
from typing import Final

from streams.commands import CommandError
from streams.settings import Settings, load_settings

#: Seconds for the first worker to lead and answer; it has just been started, perhaps on a busy machine.
_ANSWER_TIMEOUT_S: Final = 45.0


def send_seeds(settings: Settings, *, demo: bool) -> None:
    """Ask for the first policy, the pool and, for the demo, the example apps; asked again, nothing new happens."""
    import asyncio

    from streams.seeding import seed

    for asked in asyncio.run(seed(settings, demo=demo, timeout_s=_ANSWER_TIMEOUT_S)):
        sys.stdout.write(f"{asked}\n")


def main(argv: list[str]) -> int:
    """Send the seeds; one plain sentence and 1 if that is not possible."""
    try:
        send_seeds(load_settings(), demo="--demo" in argv)
    except CommandError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
