"""The only package an application installs; importing it opens nothing.

from sdk import App, controllers, notifications, sensors, testing

Each of these is imported when it is first asked for.
"""

# `typing` costs 5 ms of an import that every app pays; type checkers take this name for their own.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from sdk import controllers, notifications, sensors, testing
    from sdk.app import App

__all__ = ["App", "controllers", "notifications", "sensors", "testing"]


def __getattr__(name: str) -> object:
    """What is asked for by its name here, imported now."""
    from importlib import import_module

    if name == "App":
        return import_module("sdk.app").App
    if name in __all__:
        return import_module(f"sdk.{name}")
    raise AttributeError(f"module 'sdk' has no attribute {name!r}")
