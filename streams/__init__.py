"""The Faust shell: settings, the local Kafka, processors and the commands behind `cli.py`."""
