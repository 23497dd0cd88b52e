"""What runs on this machine without a cluster: Kafka from its jars, and the supervisor behind `up`."""
