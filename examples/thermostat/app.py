"""A thermostat: reads a made-up temperature, says when it would heat, and tells people when it is too cold."""

import random
import time

from sdk import notifications
from sdk.heartbeat import start_heart_beat

WISHED = 19.0
COLD = 17.5

start_heart_beat()
temperature = 20.0
while True:
    temperature += random.uniform(-0.4, 0.4)
    print(f"{temperature:.1f} degrees, heating {'on' if temperature < WISHED else 'off'}")
    if temperature < COLD:
        # The figure changes, the matter does not: so it has a key.
        notifications.send(
            f"Only {temperature:.1f} degrees", key="cold", severity="warning", escalate_after_s=300
        )
    time.sleep(2)
