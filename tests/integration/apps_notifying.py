"""An app of the tests: tells people something with the original interface and with the modern one, and runs on."""

import os
import time

import action_and_notification_api  # type: ignore[import-not-found]  # on the path of managed apps

from sdk import notifications
from sdk.heartbeat import start_heart_beat

start_heart_beat()
action_and_notification_api.send_notification(["Temperature exceeded!"])
notifications.send(
    f"generation {os.environ['WATCHKEEP_GENERATION']} is here", key="hello", severity="warning"
)
while True:
    time.sleep(60)
