"""The sensor manager: knows a catalogue of sensors, and prints which of them an application reads at the moment."""

import tomllib
from pathlib import Path

from looking import look_for_ever

from sdk.deployer import Node
from sdk.heartbeat import HeartBeat

CATALOGUE = Path(__file__).with_name("sensors.toml")
sensors = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))["sensor"]


def show(nodes: list[Node]) -> str:
    """One line for each sensor: its reader and where that runs."""
    homes = {app: node.node for node in nodes for app in node.apps}
    return "\n".join(
        f"{sensor['name']}: {sensor['reader']} on {homes.get(sensor['reader'], 'no node: nobody reads it')}"
        for sensor in sensors
    )


with HeartBeat("service-sensor-manager"):
    look_for_ever(show)
