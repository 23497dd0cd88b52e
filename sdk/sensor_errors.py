"""What can be wrong when an app reads a sensor, each with one plain sentence. Pure."""


class SensorError(Exception):
    """A sensor could not be read; the text says which and why."""


class UnknownAppError(SensorError):
    """No app of this name is known, and nothing is bound to it."""


class NotBoundError(SensorError):
    """The app has no sensor at this index."""


class NotYoursError(SensorError):
    """Inside a managed app only its own sensors can be read."""


class SensorUnreachableError(SensorError):
    """Kafka does not answer, or the sensor's topic does not exist, and there is nothing to answer with."""
