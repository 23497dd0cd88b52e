"""How an app is watched, made ready and kept within bounds, as its spec says it. Pure; part of `sdk.contract.specs`."""

from typing import TYPE_CHECKING, Literal

import msgspec

from sdk.contract.whole import Whole

if TYPE_CHECKING:
    from sdk.contract.specs import AppSpec

#: What counts as a beat: the app's own word, that its process lives, or an answer that its agent gets from it.
Heartbeat = Literal["sdk", "process", "http"]
#: Longest path of a check: far more than health pages have, and it stands in each copy's orders.
CHECK_PATH_MAX = 200
#: A check asks every 2 s, so even with the largest patience three in a row fit into the 10 s of the silence limit.
CHECK_TIMEOUT_MS_MIN = 50
CHECK_TIMEOUT_MS_MAX = 3_000
_PORT_MAX = 65_535
#: Least memory: docker refuses less than 6 MiB, and hardly a program comes up with less.
MEMORY_LIMIT_MIB_MIN = 6
#: A TiB, far above what one app is given.
MEMORY_LIMIT_MIB_MAX = 1 << 20
CPU_LIMIT_PERCENT_MAX = 100_000


class HttpCheck(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page that the agent asks for with GET; an answer of 200 to 399 is a good one."""

    #: Where the app listens. 0: the agent chooses a free port for each copy and says it in `WATCHKEEP_PORT`.
    port: Whole = 0
    path: str = "/"
    #: No answer within this time is none.
    timeout_ms: Whole = 1_000


def check_running(spec: "AppSpec") -> None:
    """Raise ValueError, naming what is allowed, unless the app can be watched and bounded as it says."""
    if spec.heartbeat == "http" and spec.http is None:
        raise ValueError(
            "http: heartbeat = 'http' needs this table, such as { port = 8000, path = '/health' }"
        )
    if spec.heartbeat != "http" and spec.http is not None:
        raise ValueError(f"http: is for heartbeat = 'http', not for {spec.heartbeat!r}")
    for field, check in (("http", spec.http), ("readiness", spec.readiness)):
        if check is not None:
            _check_page(check, field)
    _check_limits(spec)


def _check_page(check: HttpCheck, field: str) -> None:
    if not 0 <= check.port <= _PORT_MAX:
        raise ValueError(
            f"{field}.port: {check.port} is out of range; allowed: 0 (the agent chooses one), 1 to {_PORT_MAX}"
        )
    path = check.path
    if not path.startswith("/") or len(path) > CHECK_PATH_MAX or not path.isascii() or not path.isprintable():
        raise ValueError(
            f"{field}.path: {path!r:.80} is no path; allowed: / and up to {CHECK_PATH_MAX} printable ASCII letters"
        )
    if " " in path or "#" in path:
        raise ValueError(f"{field}.path: {path!r:.80} has a blank or a #; write %20 and %23")
    if not CHECK_TIMEOUT_MS_MIN <= check.timeout_ms <= CHECK_TIMEOUT_MS_MAX:
        raise ValueError(
            f"{field}.timeout_ms: {check.timeout_ms} is out of range; "
            f"allowed: {CHECK_TIMEOUT_MS_MIN} to {CHECK_TIMEOUT_MS_MAX}"
        )


def _check_limits(spec: "AppSpec") -> None:
    for field, limit, low, high in (
        ("memory_limit_mib", spec.memory_limit_mib, MEMORY_LIMIT_MIB_MIN, MEMORY_LIMIT_MIB_MAX),
        ("cpu_limit_percent", spec.cpu_limit_percent, 1, CPU_LIMIT_PERCENT_MAX),
    ):
        if limit and not low <= limit <= high:
            raise ValueError(f"{field}: {limit} is out of range; allowed: 0 (no limit), {low} to {high}")
    for field, limit, need, needed in (
        ("memory_limit_mib", spec.memory_limit_mib, "memory_mib", spec.memory_mib),
        ("cpu_limit_percent", spec.cpu_limit_percent, "cpu_percent", spec.cpu_percent),
    ):
        if limit and limit < needed:
            raise ValueError(f"{field}: {limit} is less than the {needed} that {need} says it needs")
    if spec.docker is None:
        return
    for field, limit, own in (
        ("memory_limit_mib", spec.memory_limit_mib, spec.docker.memory_mib),
        ("cpu_limit_percent", spec.cpu_limit_percent, spec.docker.cpu_percent),
    ):
        if limit and own:
            word = field.replace("_limit", "")
            raise ValueError(f"{field}: docker.{word} says the same; write one of the two")
