"""A platform in memory, so that authors test their apps without Kafka. Nothing of it runs in production.

    from sdk import testing

    def test_warns_when_it_is_hot() -> None:
        with testing.Platform() as platform:
            hall = platform.sensor("hall")
            platform.bind("heating", 0, hall)
            hall.write(35.5)
            my_app.look_once()                       # uses sdk.sensors, sdk.controllers, sdk.notifications or sdk.App
            assert platform.notifications[0].text == "Too hot!"

The code of the app and all of the SDK run unchanged; only what lies below, Kafka and the platform's leader, is
replaced. `with platform.managed("heating", generation=12):` is what an agent makes of the environment of an app.
"""

from sdk.testing.leader import Command
from sdk.testing.platform import Controller, Platform, Sensor, Told

__all__ = ["Command", "Controller", "Platform", "Sensor", "Told"]
