"""What can go wrong with something that an app says. Pure."""


class OutboxFullError(Exception):
    """The buffer before Kafka is full, and its author chose to refuse rather than to drop."""
