"""What `doctor` looks at: this machine, the fetched Kafka, the running platform. Part of the shell.

Each check is a function from settings to a finding; none changes anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from streams.commands import CommandError
from streams.local.broker import FREE_BYTES_MIN
from streams.local.fast_start import find_cache, java_path
from streams.local.jars import cache_dir, is_fetched, kafka_dir, read_lock, verify_jars
from streams.local.ports import is_port_free
from streams.local.probe import probe_any
from streams.local.rundir import find_holder, find_leftovers, read_run
from streams.pool_plans import plan_pools
from streams.settings import PROJECT_ROOT, Settings

PYTHON_MIN: Final = (3, 11)
#: A daemon that is well answers in some ms.
_DOCKER_WITHIN_S: Final = 3
#: All hosts are asked at once, and each is given up after 20 s.
_HOSTS_WITHIN_S: Final = 60


class Finding(NamedTuple):
    """The result of one check."""

    check: str
    #: `ok`, `unhealthy`, or `note` for what is worth saying and nothing to repair.
    state: str
    #: What was found and, if unhealthy, what to do.
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Run all checks; a check that itself fails is a finding."""
    findings = []
    for check in _CHECKS:
        try:
            findings.append(check(settings))
        except (CommandError, OSError) as error:
            findings.append(Finding(check.__name__.removeprefix("check_"), "unhealthy", str(error)))
    return findings


def check_python(settings: Settings) -> Finding:
    """Is the Python new enough."""
    del settings
    state = "ok" if sys.version_info >= PYTHON_MIN else "unhealthy"
    return Finding("python", state, f"{platform.python_version()}, 3.11 or newer is needed")


def check_disk_space(settings: Settings) -> Finding:
    """Is there room where the data and the jars are kept."""
    folders = {"data": settings.data_path, "cache": cache_dir()}
    free = {}
    for name, wanted in folders.items():
        there = next(path for path in [wanted, *wanted.parents] if path.exists())
        free[name] = shutil.disk_usage(there).free
    least = min(free.values())
    shown = ", ".join(f"{name} {count >> 20} MiB free" for name, count in free.items())
    return Finding("disk", "ok" if least >= FREE_BYTES_MIN else "unhealthy", f"{shown}; 500 MiB are needed")


def check_platform(settings: Settings) -> Finding:
    """Does an `up` run on this data directory, and are its processes well."""
    holder = find_holder(settings.data_path)
    if holder is None:
        left = find_leftovers(settings.data_path) if settings.data_path.exists() else []
        if left:
            return Finding("up", "unhealthy", f"{len(left)} processes of a killed `up` are left; run down")
        return Finding("up", "note", "nothing runs here; start it with `python cli.py up`")
    run = read_run(settings.data_path)
    ill = [child["name"] for child in run.get("children", []) if child["state"] not in {"running", "done"}]
    if ill:
        return Finding("up", "unhealthy", f"pid {holder}, not running: {', '.join(ill)}; see their logs")
    return Finding("up", "ok", f"pid {holder}, {len(run.get('children', []))} children run or are done")


def check_ports(settings: Settings) -> Finding:
    """Are the ports of our own Kafka ours or free."""
    if not settings.own_broker:
        return Finding("ports", "ok", "not needed, another Kafka is used")
    if find_holder(settings.data_path) is not None:
        return Finding(
            "ports", "ok", f"{settings.kafka_port} and {settings.kafka_controller_port} are in use by us"
        )
    ports = (settings.kafka_port, settings.kafka_controller_port)
    taken = [str(port) for port in ports if not is_port_free("127.0.0.1", port)]
    if taken:
        return Finding(
            "ports", "unhealthy", f"{', '.join(taken)} taken by another program; set kafka_port or stop it"
        )
    return Finding("ports", "ok", f"{ports[0]} and {ports[1]} are free")


def check_java(settings: Settings) -> Finding:
    """Does the Java of the wheel run."""
    del settings
    done = subprocess.run(
        [str(java_path()), "-version"], capture_output=True, text=True, check=False, timeout=20
    )
    line = (done.stderr.splitlines() or ["it says nothing"])[0]
    return Finding("java", "ok" if done.returncode == 0 else "unhealthy", line)


def check_limits(settings: Settings) -> Finding:
    """Which limits of apps and of whole nodes the agents can keep here, and why no better ones."""
    del settings
    # In a process of its own, as everything of the agents: neither knows the other.
    done = subprocess.run(
        [sys.executable, "-m", "agents.limits_check"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    if not done.stdout:
        return Finding("limits", "unhealthy", (done.stderr.splitlines() or ["it says nothing"])[-1])
    return Finding("limits", "ok" if done.returncode == 0 else "note", done.stdout.strip())


def check_pools(settings: Settings) -> Finding:
    """Can each pool be made as the settings say; what it is made of."""
    shown = []
    for plan in plan_pools(settings):
        config = plan.config
        spares = f" and {plan.spares} spares" if plan.spares else ""
        first, last = config["port_base"], config.get("port_last")
        ports = f"ports {first} to {last}" if last else f"ports from {first}"
        shown.append(f"{plan.name}: {plan.nodes} nodes{spares}, {config['provider']}, {config['ip']} {ports}")
    return Finding("pools", "ok", "; ".join(shown))


def check_docker(settings: Settings) -> Finding:
    """Can nodes run apps as containers."""
    is_wanted = any("docker" in plan.config for plan in plan_pools(settings))
    where = settings.docker_host or os.environ.get("DOCKER_HOST") or "the usual socket"
    try:
        import docker
        from docker.errors import DockerException

        named = {"DOCKER_HOST": settings.docker_host} if settings.docker_host else os.environ
        with contextlib.closing(docker.from_env(timeout=_DOCKER_WITHIN_S, environment=named)) as client:
            version = client.version()["Version"]
    except (DockerException, OSError) as error:
        if not is_wanted:
            return Finding("docker", "note", f"not used, and none answers at {where}")
        return Finding("docker", "unhealthy", f"no daemon answers at {where}: {error}")
    used = "used" if is_wanted else "usable, set docker = true for it"
    return Finding("docker", "ok", f"{version} at {where}, {used}")


def check_hosts(file: str) -> list[Finding]:
    """Can the hosts of a file take nodes; each is connected to."""
    # In a process of its own, as everything of the agents: neither knows the other.
    done = subprocess.run(
        [sys.executable, "-m", "agents.ssh_check", os.path.abspath(file)],  # noqa: PTH100 - a link stays one
        capture_output=True,
        text=True,
        check=False,
        timeout=_HOSTS_WITHIN_S,
        cwd=PROJECT_ROOT,
    )
    if done.returncode:
        return [Finding("hosts", "unhealthy", (done.stderr.strip().splitlines() or ["it says nothing"])[-1])]
    checked = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        Finding("hosts", "ok" if it["is_fit"] else "unhealthy", f"{it['host']}: {it['detail']}")
        for it in checked
    ]


def check_kafka_files(settings: Settings) -> Finding:
    """Are Kafka's jars there and the locked ones."""
    version = settings.kafka_version
    if not settings.own_broker:
        return Finding("kafka files", "ok", "not needed, another Kafka is used")
    if not is_fetched(version):
        return Finding("kafka files", "note", f"Kafka {version} is not fetched yet; the first `up` does it")
    jars = read_lock(version)
    home = kafka_dir(version)
    verify_jars(jars, home / "lib", stamp=home / "verified.json")
    fast = find_cache(version, [home / "lib" / jar.file_name for jar in jars])
    extra = "with" if fast else "without"
    return Finding("kafka files", "ok", f"Kafka {version}, {len(jars)} jars verified, {extra} start-up cache")


def check_broker(settings: Settings) -> Finding:
    """Does Kafka answer."""
    answer = probe_any(settings.bootstrap)
    if answer:
        return Finding("broker", "ok", f"{settings.bootstrap} answers, {answer.brokers} brokers")
    expected = not settings.own_broker or find_holder(settings.data_path) is not None
    state = "unhealthy" if expected else "note"
    return Finding("broker", state, f"nothing answers at {settings.bootstrap}")


def check_topics(settings: Settings) -> Finding:
    """Are all topics there, as they must be."""
    if probe_any(settings.bootstrap) is None:
        return Finding("topics", "note", "not known without Kafka")
    from streams.topics import check_topics as find_faults

    faults = find_faults(settings.bootstrap, settings.prefix)
    if faults:
        return Finding("topics", "unhealthy", "; ".join(f"{fault.topic} {fault.fault}" for fault in faults))
    return Finding("topics", "ok", f"all topics of {settings.prefix} are as they must be")


def check_green(settings: Settings) -> Finding:
    """Is the platform itself well."""
    if probe_any(settings.bootstrap) is None or find_holder(settings.data_path) is None:
        return Finding("platform", "note", "not running")
    from streams.local.viewer import ask_platform_status

    status = asyncio.run(ask_platform_status(settings))
    missing = "; ".join(map(str, status.get("missing", [])))
    if not status.get("green"):
        return Finding("platform", "unhealthy", missing or "no answer")
    return Finding("platform", "ok", f"{status.get('nodes_active', 0)} nodes are active")


_CHECKS: Final[tuple[Callable[[Settings], Finding], ...]] = (
    check_python,
    check_disk_space,
    check_java,
    check_limits,
    check_pools,
    check_docker,
    check_kafka_files,
    check_ports,
    check_platform,
    check_broker,
    check_topics,
    check_green,
)
