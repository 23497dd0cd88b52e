"""The scheduler: prints what is due next by its schedule, and when it is due; it starts nothing."""

import time
import tomllib
from pathlib import Path

from sdk.heartbeat import start_heart_beat

SCHEDULE = Path(__file__).with_name("schedule.toml")
entries = tomllib.loads(SCHEDULE.read_text(encoding="utf-8"))["entry"]

start_heart_beat("service-scheduler")
due_s = {entry["name"]: time.monotonic() + entry["every_s"] for entry in entries}
for entry in entries:
    print(f"{entry['name']}: every {entry['every_s']} s, {entry['what']}")
while True:
    name = min(due_s, key=due_s.__getitem__)
    time.sleep(max(0.0, due_s[name] - time.monotonic()))
    (entry,) = (each for each in entries if each["name"] == name)
    due_s[name] += entry["every_s"]
    print(f"due: {entry['what']}; next is {min(due_s, key=due_s.__getitem__)}")
