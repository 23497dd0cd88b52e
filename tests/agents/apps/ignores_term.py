"""Beats and does not end on SIGTERM."""

import signal

from sdk.heartbeat import heart_beat

signal.signal(signal.SIGTERM, signal.SIG_IGN)
heart_beat()
