"""The pools of a deployment, from `[pools.NAME]` in the settings or from the settings of the only one. Shell.

1. What the log decides with (how many nodes, within which bounds) is checked here and seeds the log once; after that
   `python cli.py pools set` changes it.
2. Everything else in a table is for the provisioner of the pool and handed on as it is: `agents.settings.PoolConfig`
   says what may stand there, and `agents.check_config` says so before anything is started.
3. Settings of the only pool (`nodes`, `slots`, `provider` and so on) hold for every pool whose table is silent on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from streams.commands import USAGE, CommandError

if TYPE_CHECKING:
    from sdk.contract.requests import ConfigurePool
    from streams.settings import Settings

#: Ports between the first of two pools on one address that do not say theirs: each node ever made takes one, a busy
#: pool makes some hundred a year.
_PORTS_APART: Final = 2_000
_PORT_LAST: Final = 65_535

#: Keys of a table that the log decides with.
_WISHES: Final = ("nodes", "min", "max", "spares", "slots", "register_within_ms")


class PoolPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One pool: what the log is asked for first, and what its provisioner is told."""

    name: str
    nodes: int
    slots: int
    #: Bounds of `nodes`; a `max` of 0 means the policy's `pool_nodes_max`.
    min: int = 0
    max: int = 0
    spares: int = 0
    #: 0 means the policy's.
    register_within_ms: int = 0
    #: For the provisioner, by the names of `agents.settings.PoolConfig`.
    config: dict[str, Any] = {}

    def wish(self) -> ConfigurePool:
        """The request that makes it so on the log."""
        from sdk.contract.ids import pool_id
        from sdk.contract.requests import ConfigurePool

        return ConfigurePool(
            pool_id(self.name),
            self.nodes,
            self.slots,
            nodes_min=self.min,
            nodes_max=self.max,
            spares=self.spares,
            register_within_ms=self.register_within_ms,
        )


class PoolPlanError(CommandError):
    """A table of a pool that cannot be used; the message names pool, key and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, USAGE)


def plan_pools(settings: Settings) -> list[PoolPlan]:
    """Every pool, in the order of the settings.

    Raises:
        PoolPlanError: a table that cannot be used.
    """
    plans: list[PoolPlan] = []
    for name, table in (settings.pools or {settings.pool: {}}).items():
        plans.append(_plan(settings, name, table, plans))
    return _with_last_ports(plans) if settings.pools else plans


def _plan(settings: Settings, name: str, table: object, before: list[PoolPlan]) -> PoolPlan:
    where = f"pools.{name}" if settings.pools else f"pool {name}"
    if not isinstance(table, dict):
        raise PoolPlanError(
            f"{where} = {table!r:.60} is not allowed; allowed is a table of names and values."
        )
    given = {key: table[key] for key in _WISHES if key in table}
    try:
        wishes = {"nodes": settings.nodes, "slots": settings.slots, **given}
        plan = msgspec.convert({"name": name, **wishes}, PoolPlan)
        _check_wish(plan)
    except ValueError as error:
        # msgspec says `Expected ... - at `$.key``; our own faults name the key themselves.
        said, _, key = str(error).replace("`", "").partition(" - at $")
        raise PoolPlanError(f"{where}{key}: {said}.") from None
    config = _config(settings, name, {key: value for key, value in table.items() if key not in _WISHES})
    if "port_base" not in config:
        bases = [plan.config["port_base"] for plan in before if _address(plan.config) == _address(config)]
        config["port_base"] = max(bases, default=settings.node_port_base - _PORTS_APART) + _PORTS_APART
    return msgspec.structs.replace(plan, config=config)


def _check_wish(plan: PoolPlan) -> None:
    from sdk.contract.events import PoolConfigured
    from sdk.contract.ids import pool_id
    from tables.fold_control import POOL_NODES_MAX, SLOTS_MAX, bounds_fault

    if not 0 <= plan.nodes <= POOL_NODES_MAX or not 1 <= plan.slots <= SLOTS_MAX:
        raise ValueError(
            f"nodes {plan.nodes} or slots {plan.slots} out of range; "
            f"allowed: 0 to {POOL_NODES_MAX} nodes, 1 to {SLOTS_MAX} slots"
        )
    bounds = (plan.min, plan.max, plan.spares, plan.register_within_ms)
    fault = bounds_fault(PoolConfigured("", pool_id(plan.name), plan.nodes, plan.slots, *bounds))
    if fault:
        raise ValueError(fault)


def _config(settings: Settings, name: str, own: dict[str, Any]) -> dict[str, Any]:
    """What the provisioner is told: what the deployment says for all, and over it what the table says."""
    config: dict[str, Any] = {
        "bootstrap": settings.bootstrap,
        "data_dir": str(settings.data_path),
        "pool": name,
        "ip": settings.node_ip,
        "prefix": settings.prefix,
        "provider": settings.provider,
        "log_level": settings.log_level,
        "restart_agents": settings.restart_agents,
    }
    for key in ("bootstrap", "data_dir", "pool", "prefix"):
        if key in own:
            raise PoolPlanError(
                f"pools.{name}.{key}: a pool has none of its own; set it for the whole deployment."
            )
    config |= own
    if not settings.pools:
        config["port_base"] = settings.node_port_base
    if config["provider"] == "docker" and isinstance(config.get("container", {}), dict):
        config["container"] = {"image": settings.node_image, **config.get("container", {})}
    if "docker" not in config and (settings.docker or config["provider"] == "docker"):
        config["docker"] = {"host": settings.docker_host}
        if config["provider"] == "docker":
            config["docker"]["socket_in_nodes"] = settings.docker
    docker = config.get("docker")
    if settings.docker_bootstrap and isinstance(docker, dict):
        config["docker"] = {"bootstrap": settings.docker_bootstrap, **docker}
    for key, kind in (("ip", str), ("provider", str), ("port_base", int), ("port_last", int)):
        if key in config and not isinstance(config[key], kind):
            what = "text" if kind is str else "whole number"
            raise PoolPlanError(
                f"pools.{name}.{key} = {config[key]!r:.60} is not allowed; allowed is a {what}."
            )
    return config


def _address(config: dict[str, Any]) -> str:
    """What the nodes of a pool share their ports on: its address, unless they live on machines of their own."""
    return (
        config["ip"] if config["provider"] in ("process", "docker") else f"the machines of {config['pool']}"
    )


def _with_last_ports(plans: list[PoolPlan]) -> list[PoolPlan]:
    """Each pool with the last port that it may take: the one before the next pool's first on its address."""
    found = []
    for plan in plans:
        ip, base = plan.config["ip"], plan.config["port_base"]
        others = [
            other for other in plans if other is not plan and _address(other.config) == _address(plan.config)
        ]
        above = [other for other in others if other.config["port_base"] >= base]
        upper = min(above, key=lambda other: other.config["port_base"], default=None)
        last = plan.config.get("port_last", _PORT_LAST)
        if upper is not None:
            last = min(last, upper.config["port_base"] - 1)
        wanted = max(plan.max, plan.nodes + plan.spares)
        if last - base + 1 < wanted:
            near = f" below those of pools.{upper.name}" if upper is not None else ""
            raise PoolPlanError(
                f"pools.{plan.name}.port_base: from {base} to {last} on {ip} there are {max(0, last - base + 1)} "
                f"ports{near}, and {wanted} nodes need one each; every node ever made takes another."
            )
        found.append(msgspec.structs.replace(plan, config={**plan.config, "port_last": last}))
    return found


def explain_pools(settings: Settings) -> list[tuple[str, Any]]:
    """Each value of each pool, as `pools.NAME.KEY`, for `config show`."""
    rows: list[tuple[str, Any]] = []
    for plan in plan_pools(settings):
        values = {key: getattr(plan, key) for key in _WISHES} | plan.config
        for key in ("bootstrap", "data_dir", "pool", "prefix", "log_level"):
            del values[key]
        rows += [(f"pools.{plan.name}.{key}", value) for key, value in values.items()]
    return rows
