"""Beats, with a child and a grandchild that left for a session of its own; their pids go to PIDS_FILE."""

import os
import subprocess
from pathlib import Path

from sdk.heartbeat import heart_beat

child = subprocess.Popen(["sleep", "600"])
stray = subprocess.Popen(["sleep", "600"], start_new_session=True)
Path(os.environ["PIDS_FILE"]).write_text(f"{child.pid} {stray.pid}")
heart_beat()
