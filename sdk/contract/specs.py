"""What people and programs ask for: the spec of an app. Pure; checked before it enters the log."""

from typing import Literal

import msgspec

from sdk.contract.whole import Whole

#: Longest spec accepted, as JSON. Source: a tenth of Kafka's default record limit, and orders carry many.
SPEC_BYTES_MAX = 64 << 10


class AppSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user's wish for one app; the log keeps it for ever, so it names secrets and never holds them."""

    #: The id: `application-<instance>` or `service-<name>`.
    app: str
    #: Argument list, never a shell line.
    command: list[str]
    env: dict[str, str] = {}
    driver: str = "process"
    #: Where it comes back after a failure of its own.
    on_failure: Literal["other-node", "same-node"] = "other-node"
    on_isolation: Literal["keep", "stop"] = "keep"
    #: First beat must come within this time after it was placed.
    start_within_ms: Whole = 30_000
    stop_grace_ms: Whole = 5_000
    slots: Whole = 1


def check_spec(spec: AppSpec) -> None:
    """Raise ValueError, naming field and allowed values, unless `spec` can be run."""
    if not spec.app.startswith(("application-", "service-")):
        raise ValueError(f"app: {spec.app!r:.80} must begin with application- or service-")
    if not spec.command or not spec.command[0] or any("\0" in word for word in spec.command):
        raise ValueError("command: needs a program and arguments, as a list of words without NUL")
    if any(not key or "=" in key or "\0" in key + value for key, value in spec.env.items()):
        raise ValueError("env: names must be non-empty and without =, nothing may hold NUL")
    if spec.driver != "process":
        raise ValueError(f"driver: {spec.driver!r:.40} is unknown; allowed: process")
    for field, value, low, high in (
        ("start_within_ms", spec.start_within_ms, 1_000, 3_600_000),
        ("stop_grace_ms", spec.stop_grace_ms, 0, 600_000),
        ("slots", spec.slots, 1, 1_000),
    ):
        if not low <= value <= high:
            raise ValueError(f"{field}: {value} is out of range; allowed: {low} to {high}")
    if len(msgspec.json.encode(spec)) > SPEC_BYTES_MAX:
        raise ValueError(f"spec: larger than {SPEC_BYTES_MAX} bytes")
