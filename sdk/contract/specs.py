"""What people and programs ask for: the spec of an app. Pure; checked before it enters the log."""

from typing import Literal

import msgspec

from sdk.contract.ids import check_name
from sdk.contract.whole import Whole

#: Longest spec accepted, as JSON. Source: a tenth of Kafka's default record limit, and orders carry many.
SPEC_BYTES_MAX = 64 << 10
#: Longest path of a file. Source: far below what Linux takes, 4,096 with the directories above it.
PATH_LENGTH_MAX = 200


class AppSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user's wish for one app; the log keeps it for ever, so it names secrets and never holds them."""

    #: The id: `application-<instance>` or `service-<name>`.
    app: str
    #: Argument list, never a shell line.
    command: list[str]
    env: dict[str, str] = {}
    #: Variable -> name of a secret, whose value only the node's machine knows.
    secrets: dict[str, str] = {}
    #: Path in the app's working directory -> content; an app with files has a directory of its own and starts there.
    files: dict[str, str] = {}
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
    _check_secrets(spec)
    _check_files(spec)
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


def _check_secrets(spec: AppSpec) -> None:
    for variable, name in spec.secrets.items():
        if not variable or "=" in variable or "\0" in variable:
            raise ValueError("secrets: variables must be non-empty and without = and NUL")
        if variable in spec.env:
            raise ValueError(f"secrets: {variable!r:.80} is in env too")
        try:
            check_name(name, what="secret")
        except ValueError as error:
            raise ValueError(f"secrets: {error}") from None


def _check_files(spec: AppSpec) -> None:
    for path in spec.files:
        parts = path.split("/")
        if (
            len(path) > PATH_LENGTH_MAX
            or not path.isprintable()
            or any(part in ("", ".", "..") for part in parts)
        ):
            raise ValueError(
                f"files: {path!r:.80} is not a path inside the working directory, such as conf/pump.ini, "
                f"of at most {PATH_LENGTH_MAX} characters"
            )
        if any(other.startswith(f"{path}/") for other in spec.files):
            raise ValueError(f"files: {path!r:.80} is a file and a directory")
