"""A power meter: does nothing but beat, in the main thread."""

from sdk.heartbeat import heart_beat

heart_beat()
