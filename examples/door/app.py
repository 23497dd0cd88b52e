"""A door: opens for whoever comes, inside a block that beats."""

import time

from sdk.heartbeat import HeartBeat

with HeartBeat():
    opened = 0
    while True:
        opened += 1
        print(f"opened {opened} times")
        time.sleep(4)
