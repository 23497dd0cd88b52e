"""An app that goes on calling the SDK while its broker is away: a program of its own for `bench.sdk`.

    python -m bench.outage APP SERVERS PREFIX

It says `ready` once every call was made, waits for a line, and then prints one line of JSON: what each call took its
caller, us, by name, and the quality of the last read.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from bench.calls import arithmetic, counting, timed_us
from sdk import controllers, notifications, sensors
from sdk.heartbeat import HeartBeat

#: Calls of each kind: over some seconds, so that clients try again and fail meanwhile.
_CALLS: Final = 250
_PAUSE_S: Final = 0.01


def main() -> None:
    """Be that app."""
    app, bootstrap, prefix = sys.argv[1:]
    heart = HeartBeat("service-bench", bootstrap=bootstrap, prefix=prefix).start_manual()
    calls: dict[str, Callable[[], Any]] = {
        "read": lambda: sensors.read(0, app=app),
        "beat": heart.beat,
        "notify": counting(99, lambda text: notifications.send(text, key=text, app=app)),
        "set": lambda: controllers.set(0, {"on": True}, app=app),
    }
    for call in calls.values():
        call()
    # What was imported is for good: to collect it once more in the middle would be the interpreter's time.
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    sys.stdin.readline()
    taken_us = {"arithmetic": timed_us(arithmetic, _CALLS, pause_s=_PAUSE_S)}
    taken_us |= {name: timed_us(call, _CALLS, pause_s=_PAUSE_S) for name, call in calls.items()}
    print(json.dumps({"taken_us": taken_us, "quality": sensors.read(0, app=app).quality}), flush=True)
    # What could not be delivered need not be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
