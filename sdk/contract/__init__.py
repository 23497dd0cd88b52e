"""The words everyone speaks: ids, records, topics and their codec. Pure; msgspec is the only import."""
