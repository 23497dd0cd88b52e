"""A light switch: sets the lamp that it is bound to at index 0, on and off, and says what became of it.

python cli.py apps run switch -- python3 examples/lamp/switch.py
"""

import itertools
import time

from sdk import controllers
from sdk.heartbeat import HeartBeat

with HeartBeat():
    for is_on in itertools.cycle([True, False]):
        lamp = controllers.set(0, {"on": is_on}, timeout_s=5.0)
        print(f"{lamp.wait()}: {lamp.reported or lamp.reason}")
        time.sleep(20)
