"""What can go wrong for a deployer, each with one plain sentence. Pure."""


class DeployerError(Exception):
    """What was asked for was not had; the text is one plain sentence."""


class KafkaAwayError(DeployerError):
    """No Kafka answers, or no platform with this prefix lives on it."""


class RefusedError(DeployerError):
    """The platform refused the request and says why."""


class NotAnsweredError(DeployerError):
    """No worker answered in time; the request stands."""


class NotDoneError(DeployerError):
    """The request was admitted, but its outcome did not come in time; the wish stands."""
