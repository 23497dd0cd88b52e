"""A thermostat: reads its thermometer, says when it would heat, and tells people when it is too cold."""

import time

from sdk import notifications, sensors
from sdk.heartbeat import start_heart_beat
from sdk.sensor_errors import SensorError

WISHED = 19.0
COLD = 17.5

start_heart_beat()
while True:
    try:
        reading = sensors.read(0)
    except SensorError as error:
        print(error)
    else:
        if reading.quality == "live":
            print(f"{reading.value:.1f} degrees, heating {'on' if reading.value < WISHED else 'off'}")
            if reading.value < COLD:
                # The figure changes, the matter does not: so it has a key.
                notifications.send(
                    f"Only {reading.value:.1f} degrees", key="cold", severity="warning", escalate_after_s=300
                )
        else:
            print(f"heating off: the thermometer is {reading.quality}")
    time.sleep(2)
