"""Watchkeep's heartbeat plane next to what else counts beats on Kafka."""
