"""What people and programs ask for: the spec of an app. Pure; checked before it enters the log."""

from typing import Literal, get_args

import msgspec

from sdk.contract.ids import check_name, service_id
from sdk.contract.running import Heartbeat, HttpCheck, check_running
from sdk.contract.topics import check_beats_topic
from sdk.contract.whole import Whole

#: Longest spec accepted, as JSON. Source: a tenth of Kafka's default record limit, and orders carry many.
SPEC_BYTES_MAX = 64 << 10
#: Longest path of a file. Source: far below what Linux takes, 4,096 with the directories above it.
PATH_LENGTH_MAX = 200
#: Longest name of an image or a user. Source: what docker takes for the name of an image.
_NAME_MAX = 255
#: Docker refuses less than 6 MiB.
_MEMORY_MIB_MIN = 6


#: How an app can be run.
DRIVERS = ("process", "docker")


class DockerSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an app runs as a container; it gets no new privileges and no restart of docker's own."""

    #: Must be on the node's machine: nothing is ever pulled.
    image: str
    #: `host` shares the machine's network; in `bridge` the container has an address of its own.
    network: Literal["host", "bridge"] = "host"
    #: `name`, `uid` or `uid:gid`; empty for what the image says.
    user: str = ""
    #: The file system cannot be written, apart from 64 MiB under /tmp.
    read_only: bool = True
    #: Memory, swap included; over it the app is killed. 0: no limit of its own.
    memory_mib: Whole = 0
    #: Share of one core, 100 is one whole core. 0: no limit of its own.
    cpu_percent: Whole = 0


#: The largest machines that can be rented have fewer cores, and less memory, than this: a thousand, and 64 TiB.
CPU_PERCENT_MAX = 100_000
MEMORY_MIB_MAX = 64 << 20
PRIORITY_MAX = 100
#: In the middle, so that there is room on both sides.
PRIORITY_DEFAULT = 50
#: Most services that one app may wait for: more is a group that ought to be one service.
NEEDS_MAX = 16


#: What a constraint may look at: the node's pool, its id, its address, and the drivers it offers.
ConstraintKey = Literal["pool", "node", "ip", "driver"]
#: Most constraints of one app, and most values of one: more is a pool that ought to be made.
CONSTRAINTS_MAX = 16
CONSTRAINT_VALUES_MAX = 64


class Constraint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sentence that must be true of a node before an app may go there; several must all be true."""

    key: ConstraintKey
    #: With `=` the node has one of the values, with `!=` it has none of them.
    values: list[str]
    op: Literal["=", "!="] = "="

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.key}{self.op}{','.join(self.values)}"


def parse_constraint(text: str) -> Constraint:
    """The constraint in `pool=home`, `node!=a,b` and the like.

    Raises:
        ValueError: it is none; the text says what is allowed.
    """
    key, equals, values = text.partition("=")
    op: Literal["=", "!="] = "!=" if key.endswith("!") else "="
    try:
        constraint = msgspec.convert(
            {"key": key.removesuffix("!").strip(), "values": values.split(","), "op": op}, Constraint
        )
    except msgspec.ValidationError:
        equals = ""
    if not equals:
        raise ValueError(
            f"constraint: {text!r:.80} is none; write KEY=VALUE,... or KEY!=VALUE,... "
            f"with KEY one of {', '.join(get_args(ConstraintKey))}"
        )
    check_constraint(constraint)
    return constraint


def check_constraint(constraint: Constraint) -> None:
    """Raise ValueError, naming what is allowed, unless the constraint has values that can be met."""
    if not 1 <= len(constraint.values) <= CONSTRAINT_VALUES_MAX:
        raise ValueError(
            f"constraints: {constraint.key} names {len(constraint.values)} values; "
            f"allowed: 1 to {CONSTRAINT_VALUES_MAX}"
        )
    if any(not value or "," in value or value != value.strip() for value in constraint.values):
        raise ValueError(
            f"constraints: {constraint.key} has a value that is empty, has a comma or spaces around it"
        )


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
    #: For the driver `docker` only, and needed there.
    docker: DockerSpec | None = None
    #: Processor time it needs, in hundredths of a core; 0 is not said. No node is given more than it has.
    cpu_percent: Whole = 0
    #: Memory it needs; 0 is not said. No node is given more than it has.
    memory_mib: Whole = 0
    #: Who gets room first when there is not enough: the higher number.
    priority: Whole = PRIORITY_DEFAULT
    #: Apps that are copies of one thing share a name here.
    group: str = ""
    constraints: list[Constraint] = []
    #: Rather on a node where this group runs, else in a pool where it does.
    affinity: str = ""
    #: Rather on a node with fewer copies of its own group.
    spread: bool = True
    #: Services, by name or id, that must run before a copy of it is placed.
    needs_services: list[str] = []
    #: What follows when a copy ends by itself: `on-failure` leaves it at an exit with 0, `never` at any end.
    restart: Literal["always", "on-failure", "never"] = "always"
    #: Topic that it beats into with the original heartbeat client, any record a beat; empty: it beats with the SDK.
    beats: str = ""
    #: What counts as its beat: its own word, that its process lives, or that the page in `http` answers.
    heartbeat: Heartbeat = "sdk"
    #: For the heartbeat `http`, and needed there.
    http: HttpCheck | None = None
    #: It counts as started only when this page has answered once; without one at its first beat.
    readiness: HttpCheck | None = None
    #: Most processor time it gets, in hundredths of a core; 0: no limit of its own.
    cpu_limit_percent: Whole = 0
    #: Most memory it gets; over it, it is killed where its node can do that. 0: no limit of its own.
    memory_limit_mib: Whole = 0


def needed_services(spec: AppSpec) -> list[str]:
    """Ids of the services that an app needs, in the order of its spec."""
    return [name if name.startswith("service-") else f"service-{name}" for name in spec.needs_services]


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
    _check_driver(spec)
    _check_placing(spec)
    if spec.beats:
        check_beats_topic(spec.beats)
        if spec.heartbeat != "sdk" or spec.readiness is not None:
            raise ValueError(
                "beats: records in a topic are its beats; allowed: without heartbeat and readiness"
            )
    check_running(spec)
    for field, value, low, high in (
        ("start_within_ms", spec.start_within_ms, 1_000, 3_600_000),
        ("stop_grace_ms", spec.stop_grace_ms, 0, 600_000),
        ("slots", spec.slots, 1, 1_000),
        ("cpu_percent", spec.cpu_percent, 0, CPU_PERCENT_MAX),
        ("memory_mib", spec.memory_mib, 0, MEMORY_MIB_MAX),
        ("priority", spec.priority, 0, PRIORITY_MAX),
    ):
        if not low <= value <= high:
            raise ValueError(f"{field}: {value} is out of range; allowed: {low} to {high}")
    if len(msgspec.json.encode(spec)) > SPEC_BYTES_MAX:
        raise ValueError(f"spec: larger than {SPEC_BYTES_MAX} bytes")


def _check_driver(spec: AppSpec) -> None:
    """Raise ValueError unless there is such a driver and it has what it needs."""
    if spec.driver not in DRIVERS:
        raise ValueError(f"driver: {spec.driver!r:.40} is unknown; allowed: {', '.join(DRIVERS)}")
    if spec.driver == "docker" and spec.docker is None:
        raise ValueError("docker: the driver docker needs this table, with an image at least")
    if spec.docker is not None:
        if spec.driver != "docker":
            raise ValueError(f"docker: is for the driver docker, not for {spec.driver}")
        _check_docker(spec.docker)


def _check_docker(docker: DockerSpec) -> None:
    """Raise ValueError unless a container can be made of this."""
    for field, text in (("image", docker.image), ("user", docker.user)):
        if len(text) > _NAME_MAX or not text.isprintable() or " " in text:
            raise ValueError(
                f"docker.{field}: {text!r:.80} is no name; allowed: up to {_NAME_MAX} letters, no blanks"
            )
    if not docker.image or docker.image.startswith("-"):
        raise ValueError("docker.image: needs the name of an image that is on the node's machine")
    for field, value, low, high in (
        ("memory_mib", docker.memory_mib, _MEMORY_MIB_MIN, 1 << 20),
        ("cpu_percent", docker.cpu_percent, 1, 100_000),
    ):
        if value and not low <= value <= high:
            raise ValueError(
                f"docker.{field}: {value} is out of range; allowed: 0 (no limit), {low} to {high}"
            )


def _check_placing(spec: AppSpec) -> None:
    for field, name in (("group", spec.group), ("affinity", spec.affinity)):
        if name:
            check_name(name, what=field)
    if len(spec.constraints) > CONSTRAINTS_MAX:
        raise ValueError(f"constraints: {len(spec.constraints)}; allowed: at most {CONSTRAINTS_MAX}")
    for constraint in spec.constraints:
        check_constraint(constraint)
    _check_needs(spec)


def _check_needs(spec: AppSpec) -> None:
    needs = needed_services(spec)
    if len(needs) > NEEDS_MAX:
        raise ValueError(f"needs_services: {len(needs)} services; allowed: at most {NEEDS_MAX}")
    for at, need in enumerate(needs):
        try:
            service_id(need.removeprefix("service-"))
        except ValueError as error:
            raise ValueError(f"needs_services: {error}") from None
        if need == spec.app:
            raise ValueError(f"needs_services: {need} cannot need itself")
        if need in needs[:at]:
            raise ValueError(f"needs_services: {need} is named twice")


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
