"""An app of the tests: reads four sensors with the original interface, and writes down what it read."""

import json
import os
import sys
import time

import interface_to_get_data  # type: ignore[import-not-found]  # on the path of managed apps

from sdk.heartbeat import start_heart_beat

start_heart_beat()
app = os.environ["WATCHKEEP_APP_ID"]
while True:
    line = {
        "generation": int(os.environ["WATCHKEEP_GENERATION"]),
        "values": [interface_to_get_data.get_sensor_data(index, app) for index in range(4)],
    }
    with open(sys.argv[1], "a", encoding="utf-8") as out:  # noqa: PTH123  # as an author would
        out.write(json.dumps(line) + "\n")
    time.sleep(0.1)
