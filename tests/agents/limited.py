"""Limits as a node would have them on this machine."""

from pathlib import Path

from agents.cgroups import find_cgroups
from agents.disk import home_of
from agents.limits import Limits


def limits_of(directory: Path) -> Limits:
    """The limits of a node that keeps its files there."""
    return Limits(home_of(directory), find_cgroups())
