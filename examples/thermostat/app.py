"""A thermostat: reads its thermometer and says when it would heat."""

import time

from sdk import sensors
from sdk.heartbeat import start_heart_beat
from sdk.sensor_errors import SensorError

WISHED = 19.0

start_heart_beat()
while True:
    try:
        reading = sensors.read(0)
    except SensorError as error:
        print(error)
    else:
        if reading.quality == "live":
            print(f"{reading.value:.1f} degrees, heating {'on' if reading.value < WISHED else 'off'}")
        else:
            print(f"heating off: the thermometer is {reading.quality}")
    time.sleep(2)
