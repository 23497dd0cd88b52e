"""Scenario 5: the broker dies and comes back, or stands still; each time it is the rig's own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from sdk.contract.codec import Recorded
from sdk.contract.requests import ChangePolicy
from streams.local.rig import Rig
from streams.reading import events
from tests.integration.checks import check_end

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

APPS = [f"application-{number}" for number in range(4)]
STOPPED_S = 20
#: After a gap nobody is judged for 10 s of clock (settling): whatever would be judged wrongly is by then.
SETTLED_S = 13
#: A broker that was away costs both workers their place in the group: requests wait for them, one by one.
ASK_EVERY_S = 0.2
ASKED = 5
WORKERS = ["service-worker-1", "service-worker-2"]


class Asker:
    """Sends requests all the time and keeps those that the broker acknowledged."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="asker")
        self.acknowledged: list[str] = []

    def __enter__(self) -> Asker:  # noqa: PYI034  # nobody inherits from it
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; the last one may have to wait for the broker."""
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        number = 0
        while not self._over.wait(ASK_EVERY_S):
            number += 1
            self.acknowledged.append(self._rig.send(ChangePolicy({"app_backoff_ms": 1_000 + number % 100})))


def test_broker_killed_and_then_stopped_loses_nothing_and_nobody_is_restarted(folder: Path) -> None:
    """All acknowledged events survive both, everything goes on by itself, and nothing alive is accused."""
    with Rig(folder) as rig:
        rig.start(nodes=2, slots=4)
        rig.run_apps(APPS)
        assert rig.broker is not None
        generations = {app: row.generation for app, row in rig.state().apps.items()}
        since = rig.log.offset + 1

        with Asker(rig) as asker:
            rig.wait(lambda _: len(asker.acknowledged) > ASKED, what="some requests acknowledged")
            rig.broker.kill()
            seen = rig.events()
            rig.broker.start()
            settle(rig, asker)
            rig.broker.pause()
            rig.hold(STOPPED_S)
            rig.broker.resume()
            settle(rig, asker)

        rig.wait(
            lambda _: all(request in rig.log.answers for request in asker.acknowledged),
            within_s=30,
            what="an answer to each acknowledged request",
        )
        on_log = asyncio.run(read_ids(rig))
        assert [on_log.get(one.offset) for one in seen] == [
            one.said.id for one in seen if isinstance(one.said, Recorded)
        ]
        rig.wait_running(APPS)
        assert {app: row.generation for app, row in rig.state().apps.items()} == generations
        (more,) = rig.run_apps(["application-more"])
        check_end(rig, since, touched=[*WORKERS, more])


def settle(rig: Rig, asker: Asker) -> None:
    """Wait until the platform answers again and the clock has passed the time in which nobody is judged."""
    begin = len(asker.acknowledged)
    rig.wait(
        lambda _: (
            len(asker.acknowledged) > begin + ASKED and asker.acknowledged[begin + ASKED] in rig.log.answers
        ),
        within_s=40,
        what="requests answered again",
    )
    rig.wait_time(SETTLED_S)


async def read_ids(rig: Rig) -> dict[int, str]:
    """The log as it stands now, read by somebody who has not seen it before: offset and event id."""
    return {
        entry.offset: entry.said.id
        async for entry in events(rig.bootstrap, rig.prefix)
        if isinstance(entry.said, Recorded)
    }
