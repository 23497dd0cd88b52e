"""Beats until SIGUSR1 or until the file in HANG_FILE exists, then lives on without beating."""

import os
import signal
import threading

from sdk.heartbeat import start_heart_beat

hang = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: hang.set())
heart = start_heart_beat(every_s=float(os.environ.get("BEAT_EVERY_S", "5")))
path = os.environ.get("HANG_FILE", "")
while not hang.wait(0.05):
    if path and os.path.exists(path):  # noqa: PTH110 - `pathlib` would be most of this app's start
        break
heart.stop()
while True:
    signal.pause()
