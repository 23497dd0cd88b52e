"""A door: opens for whoever comes, inside a block that beats, and tells people now and then."""

import time

from sdk import notifications
from sdk.heartbeat import HeartBeat

with HeartBeat():
    opened = 0
    while True:
        opened += 1
        print(f"opened {opened} times")
        if opened % 10 == 0:
            notifications.send(f"The door was opened {opened} times.", key="opened")
        time.sleep(4)
