"""A thermostat: reads a made-up temperature and says when it would heat."""

import random
import time

from sdk.heartbeat import start_heart_beat

WISHED = 19.0

start_heart_beat()
temperature = 20.0
while True:
    temperature += random.uniform(-0.4, 0.4)
    print(f"{temperature:.1f} degrees, heating {'on' if temperature < WISHED else 'off'}")
    time.sleep(2)
