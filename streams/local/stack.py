"""The list of what `up` runs, from the settings: broker, topics, workers, provisioner, seeds. Part of the shell."""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec

from streams.demo_controllers import LAMP
from streams.local.broker import LocalBroker
from streams.local.child import ChildSpec
from streams.local.exec_token import ensure_exec_token
from streams.pool_plans import PoolPlan, plan_pools
from streams.settings import PROJECT_ROOT, Settings, resolved_environment

#: A worker commits, flushes and leaves its group when it stops: up to 8 s seen under load.
_WORKER_GRACE_S: Final = 12.0

#: A provisioner stops its nodes, which stop their apps, which have 5 s each.
_PROVISIONER_GRACE_S: Final = 20.0

#: Java flushes and closes: 0.5 s usually.
_BROKER_GRACE_S: Final = 20.0

#: Faust's own names of log levels.
_FAUST_LEVELS: Final = {"debug": "debug", "info": "info", "warning": "warn", "error": "error"}

_BROKER, _TOPICS, _WORKERS, _PROVISIONER, _SEEDS, _DEVICES = range(6)


def create_broker(settings: Settings) -> LocalBroker:
    """Return our own Kafka as the settings want it."""
    return LocalBroker(
        settings.data_path / "kafka",
        port=settings.kafka_port,
        controller_port=settings.kafka_controller_port,
        version=settings.kafka_version,
        heap_mib=settings.kafka_heap_mib,
        bridge=settings.docker_bootstrap,
    )


def plan_children(settings: Settings, broker: LocalBroker | None, *, demo: bool) -> list[ChildSpec]:
    """Return what to run, in stages; `broker` is prepared, or None if another Kafka is used."""
    children = []
    if broker:
        children.append(
            ChildSpec(
                name="kafka",
                argv=broker.command(),
                fallback_argv=broker.command(with_cache=False),
                stage=_BROKER,
                ready_kafka=settings.bootstrap,
                grace_s=_BROKER_GRACE_S,
                note=f"port {settings.kafka_port}",
            )
        )
    seed = ["-m", "streams.local.seed_step", *["--demo"] * demo]
    children += [
        _python(settings, "topics", ["-m", "streams.topics"], stage=_TOPICS, once=True),
        *(_worker(settings, number) for number in range(1, settings.workers + 1)),
        *_provisioners(settings),
        _python(settings, "seed", seed, stage=_SEEDS, once=True),
    ]
    if demo:
        # What stands outside of a platform is no app of it.
        children.append(_python(settings, "demo-lamp", ["examples/lamp/device.py", LAMP], stage=_DEVICES))
        children.append(_python(settings, "sensors", ["-m", "streams.demo_sensors"], stage=_DEVICES))
    return children


def _python(settings: Settings, name: str, args: list[str], *, stage: int, once: bool = False) -> ChildSpec:
    return ChildSpec(
        name=name,
        argv=[sys.executable, *args],
        stage=stage,
        env=_environment(settings),
        cwd=str(PROJECT_ROOT),
        once=once,
    )


def _worker(settings: Settings, number: int) -> ChildSpec:
    name = f"worker-{number}"
    folder = settings.data_path / name
    # Faust makes its folder, but not the ones above it.
    folder.mkdir(parents=True, exist_ok=True)
    web = ["--web-port", str(settings.web_port + number - 1)] if settings.web else ["--without-web"]
    spec = _python(
        settings,
        name,
        [
            "-m",
            "faust",
            "-A",
            "streams.app",
            "--datadir",
            str(folder),
            "worker",
            *web,
            "-l",
            _FAUST_LEVELS[settings.log_level],
        ],
        stage=_WORKERS,
    )
    return spec._replace(
        env={**spec.env, "WATCHKEEP_WORKER_NAME": name},
        grace_s=_WORKER_GRACE_S,
        note=f"port {settings.web_port + number - 1}" if settings.web else "",
    )


def _provisioners(settings: Settings) -> list[ChildSpec]:
    """One provisioner for each pool."""
    plans = plan_pools(settings)
    kept = {provisioner_name(settings, plan) for plan in plans}
    settings.data_path.mkdir(parents=True, exist_ok=True)
    for old in settings.data_path.glob("provisioner*.json"):
        # Of a pool that is no longer in the settings; its book stays under `pools/`.
        if old.stem not in kept:
            old.unlink()
    return [_provisioner(settings, plan) for plan in plans]


def provisioner_name(settings: Settings, plan: PoolPlan) -> str:
    """Name of the provisioner of a pool, and of its configuration and log."""
    return f"provisioner-{plan.name}" if settings.pools else "provisioner"


def _provisioner(settings: Settings, plan: PoolPlan) -> ChildSpec:
    name = provisioner_name(settings, plan)
    path = settings.data_path / f"{name}.json"
    # What may stand in it: `agents.settings.PoolConfig`.
    config = {"exec_token": str(ensure_exec_token(settings)), **plan.config}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(config)))
    spec = _python(settings, name, ["-m", "agents.provisioner", "--config", str(path)], stage=_PROVISIONER)
    return spec._replace(grace_s=_PROVISIONER_GRACE_S, note=f"pool {plan.name}")


def _environment(settings: Settings) -> dict[str, str]:
    """Return what every Python child gets: the settings in force and a path on which our packages lie."""
    path = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**resolved_environment(settings), "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
