"""A lamp that exists only as a program: does what is desired of its controller, and says so.

python examples/lamp/device.py controller-lamp
"""

import sys
from typing import Any

from sdk import controllers

#: Percent.
FULL = 100


def switch(value: Any) -> dict[str, Any]:
    """Switch as desired, `{"on": true, "level": 80}`; what is neither on nor off it does not do."""
    if not isinstance(value, dict) or not isinstance(value.get("on"), bool):
        raise controllers.Rejected('a lamp wants {"on": true} or {"on": false}')
    level = value.get("level", FULL)
    if not isinstance(level, int) or not 0 <= level <= FULL:
        raise controllers.Rejected(f"level: {level} is out of range; allowed: 0 to {FULL}")
    shines = {"on": value["on"], "level": level if value["on"] else 0}
    print(f"the lamp is {'on' if value['on'] else 'off'} at {shines['level']} %", flush=True)
    return shines


if __name__ == "__main__":
    controllers.serve(sys.argv[1] if len(sys.argv) > 1 else "lamp", switch)
