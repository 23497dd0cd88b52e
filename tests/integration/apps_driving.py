"""An app of the tests: drives a lamp step by step; killed in between, it repeats the step that it had not noted."""

import sys
from pathlib import Path

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
while True:
    controllers.set(0, {"on": False}, command="night").wait()
