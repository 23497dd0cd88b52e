"""Lives and never beats."""

import signal

while True:
    signal.pause()
