"""Sensors and controllers for people: tables, and what a sensor says. Shell."""

from __future__ import annotations

from typing import Any

from sdk.contract.devices import Device, DeviceKind, device_topic
from sdk.sensor_errors import SensorUnreachableError
from sdk.sensor_stream import Point, SensorStream
from streams.commands import CANNOT_REACH_KAFKA, CommandError
from streams.render import coloured, duration, table
from streams.settings import Settings
from tables.fold_devices import silence_limit
from tables.state import State
from tables.views import operating_state


def device_views(state: State, kind: DeviceKind, prefix: str) -> list[dict[str, Any]]:
    """One mapping for each device of a kind, sorted by id."""
    users: dict[str, list[str]] = {}
    for app, row in sorted(state.bindings.items()):
        for index, device in row.of(kind).items():
            users.setdefault(device, []).append(f"{app}[{index}]")
    return [
        {
            "device": name,
            "type": row.device.type,
            "unit": row.device.unit,
            "location": row.device.location,
            "topic": device_topic(prefix, row.device),
            "state": operating_state(row) if row.enabled else "disabled",
            "since_ms": row.changed_ms or row.since_ms,
            "silence_limit_ms": silence_limit(state, row.device),
            "failure_count": row.failures,
            "enabled": row.enabled,
            "bound_to": users.get(name, []),
        }
        for name, row in sorted(state.devices.items())
        if row.device.kind == kind
    ]


def devices_table(views: list[dict[str, Any]]) -> str:
    """The devices in lines."""
    head = ("DEVICE", "STATE", "LIMIT", "TYPE", "UNIT", "LOCATION", "TOPIC", "BOUND TO")
    return table(
        head,
        [
            (
                it["device"],
                coloured(it["state"]),
                duration(it["silence_limit_ms"]) if it["silence_limit_ms"] else "-",
                *(it[key] for key in ("type", "unit", "location", "topic")),
                ", ".join(it["bound_to"]),
            )
            for it in views
        ],
    )


def open_stream(
    settings: Settings, device: Device, *, n: int | None = None, since: float | None = None
) -> SensorStream:
    """The values of a sensor.

    Raises:
        CommandError: Kafka or its topic cannot be found.
    """
    topic = device_topic(settings.prefix, device)
    try:
        return SensorStream(settings.bootstrap, device.device, topic, n=n, since=since)
    except SensorUnreachableError as error:
        raise CommandError(str(error), CANNOT_REACH_KAFKA) from None


def last_point(settings: Settings, device: Device) -> Point | None:
    """The newest value of a sensor, None if there is none."""
    topic = device_topic(settings.prefix, device)
    try:
        return SensorStream.last(settings.bootstrap, device.device, topic)
    except SensorUnreachableError as error:
        raise CommandError(str(error), CANNOT_REACH_KAFKA) from None
