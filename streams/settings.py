"""Settings: what a deployment decides before anything runs. Part of the shell; light to import.

1. Later wins: default < `watchkeep.toml` < environment `WATCHKEEP_*` < flags of the command.
2. An unknown key or a bad value is an error that names the key, where it stands and what is allowed.
3. What decides (limits, brake, backoff, strategy) is policy on the log; `[policy]` only seeds the first.

`streams.settings_sources` reads file and environment with pydantic-settings. That import takes a quarter of
a second and 16 MiB, so it happens only if something is set at all, and what `up` starts gets the
resolved settings handed over in one variable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from streams.commands import USAGE, CommandError

PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent

ENV_PREFIX: Final = "WATCHKEEP_"

#: Set by `up` for its children: all settings as one JSON object, so that they see the same ones
#: and need no pydantic.
RESOLVED_ENV: Final = "WATCHKEEP_RESOLVED_SETTINGS"

#: The name that Kafka tools share; counts if `WATCHKEEP_BOOTSTRAP_SERVERS` is not set.
BOOTSTRAP_ENV: Final = "KAFKA_BOOTSTRAP_SERVERS"

#: Variables of ours that are no settings: each concerns one process, not the deployment.
NOT_SETTINGS: Final = frozenset(
    {
        RESOLVED_ENV,
        "WATCHKEEP_AGENT",  # an app's agent, set by that agent
        "WATCHKEEP_APP_ID",  # which app this process is, set by its agent
        "WATCHKEEP_GENERATION",  # which copy of it, set by its agent
        "WATCHKEEP_PORT",  # where this copy shall listen, set by its agent
        "WATCHKEEP_NODE_ID",  # where it runs, set by its agent
        "WATCHKEEP_CACHE_DIR",  # where jars are kept, see streams.local.jars
        "WATCHKEEP_CONFIG",  # another path of watchkeep.toml
        "WATCHKEEP_PYTHON",  # the Python that scripts/setup uses
        "WATCHKEEP_RUN_MARK",  # which `up` a process belongs to, see streams.local.processes
        "WATCHKEEP_WORKER_NAME",  # which worker this process is
    }
)

_PORT: Final = (1, 65_535)

#: Allowed range of each number, ends included.
RANGES: Final[dict[str, tuple[int, int]]] = {
    "kafka_port": _PORT,
    "kafka_controller_port": _PORT,
    "kafka_bridge_port": _PORT,
    "kafka_heap_mib": (128, 65_536),
    "workers": (1, 64),
    "nodes": (0, 1_000),
    "slots": (1, 1_000),
    "node_port_base": (1_024, 65_000),
    "web_port": _PORT,
    "session_timeout_ms": (1_000, 300_000),
    "session_heartbeat_ms": (100, 100_000),
}


class SettingsError(CommandError):
    """A setting that cannot be used; the message names it, where it stands and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, USAGE)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one deployment, resolved."""

    #: Kafka to use, `host:port[,host:port]`. Empty: start our own on this machine.
    bootstrap_servers: str | None = None
    #: First part of every topic name. Two platforms on one Kafka need two prefixes.
    prefix: str = "watchkeep"
    #: Folder of everything that is kept; relative paths start at the project.
    data_dir: str = ".watchkeep"
    #: Version of our own Kafka; one with a lock file under streams/local. Source: DESIGN 11.
    kafka_version: Literal["4.1.1", "3.9.1"] = "4.1.1"
    #: Port of our own Kafka. Source: Kafka's own default.
    kafka_port: int = 9_092
    #: Port its controller listens on, only on this machine. Source: Kafka's example configuration.
    kafka_controller_port: int = 9_093
    #: Heap of our own Kafka in MiB; 300 MiB are resident at 256, less makes it collect all the time.
    kafka_heap_mib: int = 256
    #: `faust worker` processes. Two, so that one may die; each costs about 70 MiB.
    workers: int = 2
    #: Nodes of the pool at the very first start; afterwards the log knows.
    nodes: int = 3
    #: Apps that one node takes. Source: DESIGN 13.
    slots: int = 4
    #: Name of the pool that the local provisioner serves, if `pools` names none.
    pool: str = "local"
    #: Pools by name, each a table `[pools.NAME]` in the file: `streams.pool_plans` says what may stand in it. The other
    #: settings of nodes hold for every pool whose table does not say otherwise.
    pools: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    #: What a node is: a process, or a container on the docker daemon of this machine.
    provider: Literal["process", "docker"] = "process"
    #: Image of nodes that are containers; `scripts/docker-image` makes this one.
    node_image: str = "watchkeep/python:local"
    #: Address that local nodes listen on and are named after.
    node_ip: str = "127.0.0.1"
    #: First port for nodes; every further node takes a higher one, none is used twice.
    node_port_base: int = 8_082
    #: Whether nodes run apps as containers too, on the docker daemon of this machine.
    docker: bool = False
    #: Address of that daemon. Empty: what DOCKER_HOST says, or the usual socket.
    docker_host: str = ""
    #: Kafka, `host:port[,host:port]`, as apps in a bridge network reach it. Empty: with our own Kafka a listener at
    #: the bridge's gateway that `up` adds, with another one its own addresses.
    docker_bootstrap: str = ""
    #: Port of that listener. Source: the next to those of Kafka and its controller.
    kafka_bridge_port: int = 9_094
    #: Whether a node's agent that dies is started again in its place and adopts the apps, which run on.
    #: Otherwise the node is destroyed and replaced by a new one with all its apps.
    restart_agents: bool = False
    #: Whether workers serve their web pages.
    web: bool = False
    #: Port of the first worker's web pages, the next worker's is one higher. Source: Faust's own default.
    web_port: int = 6_066
    #: What workers write to their log files.
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    #: Silence after which Kafka's group gives up a worker. Empty: 3 s on our own broker, which
    #: allows it, else 6 s, the usual floor of brokers. More delays a change of leader, less ends
    #: workers that are only busy.
    session_timeout_ms: int | None = None
    #: How often a worker tells its group that it lives; must be well under half the session timeout.
    #: Empty: 750 ms on our own broker, 1 s elsewhere.
    session_heartbeat_ms: int | None = None
    #: Seeds of the first policy, checked by `sdk.contract.policy`; see there for names and ranges.
    policy: dict[str, int | bool | str] = msgspec.field(default_factory=dict)

    @property
    def default_pool(self) -> str:
        """The pool that is meant where none is named: the only one, or the first."""
        return self.pool if not self.pools or self.pool in self.pools else next(iter(self.pools))

    @property
    def own_broker(self) -> bool:
        """Whether `up` starts Kafka itself."""
        return not self.bootstrap_servers

    @property
    def bootstrap(self) -> str:
        """Where Kafka is, our own or the one that was named."""
        return self.bootstrap_servers or f"127.0.0.1:{self.kafka_port}"

    @property
    def data_path(self) -> Path:
        """The data directory as an absolute path."""
        return PROJECT_ROOT / self.data_dir

    @property
    def faust_session_timeout_s(self) -> float:
        """Seconds of silence after which the group gives up a worker."""
        return (self.session_timeout_ms or (3_000 if self.own_broker else 6_000)) / 1_000

    @property
    def faust_heartbeat_s(self) -> float:
        """Seconds between two signs of life to the group."""
        return (self.session_heartbeat_ms or (750 if self.own_broker else 1_000)) / 1_000


class Explained(NamedTuple):
    """One setting for `config show`."""

    key: str
    value: Any
    #: `default`, `derived`, `flag`, the name of the variable or of the file.
    source: str


def load_settings(**flags: object) -> Settings:
    """Return the settings in force; a flag that is None counts as not given.

    Raises:
        SettingsError: for an unknown key or a bad value.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    resolved = os.environ.get(RESOLVED_ENV)
    if resolved and not given:
        return msgspec.json.decode(resolved, type=Settings)
    if not given and not _is_anything_set(os.environ):
        return Settings()
    return _resolve(given) if given else _resolve_cached()


def _resolve(given: dict[str, object]) -> Settings:
    from streams.settings_sources import resolve

    settings, sources = resolve(given, os.environ, config_path())
    check_settings(settings, sources)
    return settings


def _resolve_cached() -> Settings:
    """Return the settings of file and environment, resolved once and then remembered."""
    from streams.settings_cache import find_settings, store_settings

    ours = {name: text for name, text in os.environ.items() if _is_setting(name)}
    config = config_path()
    contract = PROJECT_ROOT / "sdk" / "contract" / "policy.py"
    code = [
        Path(__file__).with_name(name) for name in ("settings.py", "settings_sources.py", "pool_plans.py")
    ]
    code.append(contract)
    stored = find_settings(ours, config, code)
    if stored:
        try:
            return msgspec.json.decode(stored, type=Settings)
        except msgspec.DecodeError:
            pass
    settings = _resolve({})
    store_settings(msgspec.json.encode(settings), ours, config, code)
    return settings


def explain_settings(**flags: object) -> list[Explained]:
    """Return every setting with its value and where it came from."""
    from streams.settings_sources import resolve

    given = {key: value for key, value in flags.items() if value is not None}
    settings, sources = resolve(given, os.environ, config_path())
    check_settings(settings, sources)
    rows = [
        Explained(name, getattr(settings, name), sources.get(name, "default"))
        for name in Settings.__struct_fields__
        if name not in ("policy", "pools")
    ]
    derived = {
        "bootstrap_servers": settings.bootstrap,
        "session_timeout_ms": int(settings.faust_session_timeout_s * 1_000),
        "session_heartbeat_ms": int(settings.faust_heartbeat_s * 1_000),
    }
    rows = [
        row._replace(value=derived[row.key], source="derived")
        if row.value is None and row.key in derived
        else row
        for row in rows
    ]
    if settings.pools:
        from streams.pool_plans import explain_pools

        rows += [Explained(key, value, sources.get(key, "derived")) for key, value in explain_pools(settings)]
    return rows + [
        Explained(f"policy.{key}", value, sources.get(f"policy.{key}", "default"))
        for key, value in sorted(settings.policy.items())
    ]


def resolved_environment(settings: Settings) -> dict[str, str]:
    """Return the one variable that hands these settings to a child process."""
    return {RESOLVED_ENV: msgspec.json.encode(settings).decode()}


def check_settings(settings: Settings, sources: Mapping[str, str]) -> None:
    """Raise SettingsError for values that do not go together.

    Raises:
        SettingsError: naming the keys.
    """
    if settings.own_broker and settings.kafka_port == settings.kafka_controller_port:
        raise SettingsError(
            f"kafka_port and kafka_controller_port are both {settings.kafka_port}; they must differ."
        )
    others = (settings.kafka_port, settings.kafka_controller_port)
    if settings.own_broker and settings.docker and settings.kafka_bridge_port in others:
        raise SettingsError(
            f"kafka_bridge_port {settings.kafka_bridge_port} is another port of Kafka too; it must differ."
        )
    if settings.faust_heartbeat_s * 2 > settings.faust_session_timeout_s:
        raise SettingsError("session_heartbeat_ms must be at most half of session_timeout_ms.")
    check_policy_seed(settings.policy, sources)
    if settings.pools:
        from streams.pool_plans import PoolPlanError, plan_pools

        try:
            plan_pools(settings)
        except PoolPlanError as error:
            raise SettingsError(f"{sources.get('pools', 'settings')}: {error.message}") from None


def check_policy_seed(policy: Mapping[str, int | bool | str], sources: Mapping[str, str]) -> None:
    """Raise SettingsError unless the seeds make a policy; the contract knows what is allowed.

    Raises:
        SettingsError: naming the key.
    """
    if not policy:
        return
    from sdk.contract.policy import policy_from

    try:
        policy_from(dict(policy))
    except ValueError as error:
        # The contract knows keys, not where they stand; its message always holds the key.
        named = next((sources.get(f"policy.{key}") for key in policy if key in str(error)), None)
        raise SettingsError(f"{named or 'settings'}: {error}.") from None


def config_path() -> Path:
    """Return the path of the settings file, which need not exist."""
    return Path(os.environ.get("WATCHKEEP_CONFIG") or PROJECT_ROOT / "watchkeep.toml")


def _is_setting(name: str) -> bool:
    return name == BOOTSTRAP_ENV or (name.startswith(ENV_PREFIX) and name not in NOT_SETTINGS)


def _is_anything_set(environ: Mapping[str, str]) -> bool:
    return (
        any(_is_setting(name) for name in environ)
        or bool(environ.get("WATCHKEEP_CONFIG"))
        or config_path().exists()
    )
