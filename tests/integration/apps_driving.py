"""An app of the tests: drives a lamp step by step; killed in between, it repeats the step that it had not noted."""

import os
import sys
import time
from pathlib import Path

import interface_to_get_data  # type: ignore[import-not-found]  # on the path of managed apps

from sdk import controllers
from sdk.heartbeat import start_heart_beat

STEPS = 20

start_heart_beat()
notes = Path(sys.argv[1])
step = int(notes.read_text(encoding="utf-8")) if notes.exists() else 0
while step < STEPS:
    # The id is the app's own: who does not know whether a step was done asks for it again, and has it done once.
    handle = controllers.set(0, {"on": True, "level": step}, command=f"step-{step}")
    if handle.wait() == "done":
        step += 1
        notes.write_text(str(step), encoding="utf-8")
# The last word with the original interface.
interface_to_get_data.set_controller_data(0, os.environ["WATCHKEEP_APP_ID"], {"on": False})
while True:
    time.sleep(1)
