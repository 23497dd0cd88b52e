"""What can become of a command to a controller but done, each with one plain sentence. Pure.

An unknown app, an index with nothing bound and somebody else's controller are the errors of `sdk.sensor_errors`.
"""


class ControllerError(Exception):
    """A command was not carried out, as far as it is known; the text says which and why."""


class CommandRejectedError(ControllerError):
    """The platform or the device says no, or a newer command took its place."""


class CommandExpiredError(ControllerError):
    """The device did not act on it in its time; it will not any more."""


class ControllerUnreachableError(ControllerError):
    """Kafka or the platform did not answer in time; whether the command was carried out is unknown."""
