"""The original interface to people, word for word; on the import path of every managed app.

import action_and_notification_api

action_and_notification_api.send_notification(["Temperature exceeded!"])

New programs use `sdk.notifications`, which has keys, severities, repetition and escalation.
"""

from collections.abc import Iterable

from sdk import notifications


def send_notification(messages: Iterable[str] | str) -> None:
    """Tell people each of `messages`; the app is known from the environment. Returns at once.

    Raises:
        ValueError: outside of a managed app, `WATCHKEEP_APP_ID` must name it.
        TypeError: a message is no text.
    """
    for message in [messages] if isinstance(messages, str) else messages:
        notifications.send(message)
