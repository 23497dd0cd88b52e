"""A door: opens for whoever comes, inside a block that beats, and has its lamp switched now and then."""

import time

from sdk import controllers
from sdk.heartbeat import HeartBeat

#: The lamp is switched at every so many openings.
SWITCH_EVERY = 5

with HeartBeat():
    opened = 0
    while True:
        opened += 1
        print(f"opened {opened} times")
        if opened % SWITCH_EVERY == 1:
            lamp = controllers.set(0, {"on": opened // SWITCH_EVERY % 2 == 0}, timeout_s=3.0)
            print(f"the lamp: {lamp.wait(3.0)} {lamp.reported or lamp.reason}")
        time.sleep(4)
