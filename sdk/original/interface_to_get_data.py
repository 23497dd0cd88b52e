"""The original interface to sensors and controllers, word for word; on the import path of every managed app.

import interface_to_get_data

value = interface_to_get_data.get_sensor_data(0, 'app_instance_63546eef86f64aec98c58e3ca96c38b3')
series = interface_to_get_data.get_stream_data(0, 'app_instance_63546eef86f64aec98c58e3ca96c38b3', 10)
interface_to_get_data.set_controller_data(0, 'app_instance_63546eef86f64aec98c58e3ca96c38b3', {'on': True})

New programs use `sdk.sensors`, which says how old a value is and never waits for one, and `sdk.controllers`.
"""

import time
from typing import Any

from sdk import controllers, sensors
from sdk.sensor_errors import SensorUnreachableError

#: How long `get_sensor_data` waits for the first value of a sensor that has written none.
FIRST_VALUE_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.05


def get_sensor_data(sensor_idx: int, app_id: str) -> Any:
    """The current value of the sensor bound at that index; the first one is waited for.

    Raises:
        sdk.sensor_errors.SensorError: unknown app, nothing bound there, somebody else's sensor, or no value in 30 s.
    """
    deadline_s = time.monotonic() + FIRST_VALUE_WITHIN_S
    while (reading := sensors.read(sensor_idx, app=app_id)).offset < 0:
        if time.monotonic() > deadline_s:
            raise SensorUnreachableError(
                f"Sensor {sensor_idx} of {app_id}: {reading.quality} for {FIRST_VALUE_WITHIN_S:g} s."
            )
        time.sleep(_LOOK_EVERY_S)
    return reading.value


def get_stream_data(sensor_idx: int, app_id: str, number_of_data_points: int) -> list[Any]:
    """The next `number_of_data_points` values, in their order; waits until they have come.

    Raises:
        sdk.sensor_errors.SensorError: as `get_sensor_data`.
    """
    with sensors.stream(sensor_idx, number_of_data_points, app=app_id) as points:
        return [point.value for point in points]


def set_controller_data(controller_idx: int, app_id: str, value: Any) -> Any:
    """Set the controller bound at that index and wait until its device has done it; what the device reported.

    Raises:
        sdk.sensor_errors.SensorError: unknown app, nothing bound there, or somebody else's controller.
        sdk.controller_errors.ControllerError: rejected, not done in 30 s, or no answer from the platform.
        ValueError: a value that JSON cannot say, or of more than 64 KiB.
    """
    return controllers.set(controller_idx, value, app=app_id).result()
