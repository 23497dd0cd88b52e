"""Our own Kafka: one broker on this machine, from jars, with the Java runtime of a wheel. Part of the shell.

`prepare()` makes what is missing (jars, start-up cache, formatted storage, configuration); `command()` is
what a supervisor runs; `start()`, `stop()`, `kill()`, `pause()`, `resume()` are for tests and benches, which
own their broker. Data stays in the folder and survives all of them.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from streams.commands import CommandError
from streams.local import fast_start
from streams.local.jars import ProgressCallback, ensure_jars, is_fetched, kafka_dir, no_progress
from streams.local.kafka_config import (
    BrokerPlace,
    bridge_listener,
    java_command,
    logging_properties,
    server_properties,
)
from streams.local.ports import check_port_free
from streams.local.probe import probe_kafka

#: Seconds until a broker must answer: 1.2 s usually, 4.2 s after kill -9, more on a busy machine.
READY_TIMEOUT_S: Final = 60.0

#: Seconds a broker may take to stop before it is killed: 0.5 s usually.
STOP_TIMEOUT_S: Final = 20.0

#: Free bytes below which a start is refused; a broker on a full disk ends without saying why.
FREE_BYTES_MIN: Final = 500 << 20

#: How often a condition of another process is looked at.
_POLL_S: Final = 0.05


#: Told the name of what begins and takes long.
StepCallback = Callable[[str], None]


def no_step(name: str) -> None:
    """Tell nobody."""
    del name


class BrokerError(CommandError):
    """The broker cannot be started; the message says why and what to do."""


class LocalBroker:
    """One broker with its folder, ports and, once started here, its process."""

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int,
        controller_port: int,
        version: str = "4.1.1",
        heap_mib: int = 256,
        bridge: str = "",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Make a broker that keeps its things in `data_dir`; nothing is touched before `prepare`.

        It listens at `bridge` (`host:port`) too, if given. `extra` are Kafka settings that win over ours.
        """
        home = data_dir.absolute()
        self._place = BrokerPlace("127.0.0.1", port, controller_port, home)
        self._version = version
        self._heap_mib = heap_mib
        self._extra = {**(bridge_listener(self._place, bridge) if bridge else {}), **(extra or {})}
        self._jars: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return f"{self._place.host}:{self._place.port}"

    @property
    def pid(self) -> int:
        """The process started here.

        Raises:
            RuntimeError: if none was.
        """
        if self._process is None:
            raise RuntimeError("this broker was not started here")
        return self._process.pid

    @property
    def log_file(self) -> Path:
        """What the broker says."""
        return self._place.home / "broker.log"

    def prepare(
        self,
        step: StepCallback = no_step,
        progress: ProgressCallback = no_progress,
    ) -> None:
        """Make whatever is missing for a start; `step` is told what takes long, `progress` bytes of the jars.

        Raises:
            CommandError: in plain words.
        """
        home = self._place.home
        home.mkdir(parents=True, exist_ok=True)
        check_disk(home, "the data is kept", "set data_dir to another disk")
        if not is_fetched(self._version):
            cache = kafka_dir(self._version)
            cache.mkdir(parents=True, exist_ok=True)
            check_disk(cache, "Kafka's files are kept", "set WATCHKEEP_CACHE_DIR to another disk")
            step(f"fetch Kafka {self._version}")
        self._jars = ensure_jars(self._version, progress)
        logging = home / "logging.properties"
        logging.write_text(logging_properties(self._version, self.log_file), encoding="utf-8")
        properties = server_properties(self._place, self._extra)
        (home / "server.properties").write_text(properties, encoding="utf-8")
        fast_start.ensure_cache(self._version, self._jars, step)
        self._format(step)

    def command(self, *, with_cache: bool = True) -> list[str]:
        """Return the argv that runs the prepared broker in the foreground."""
        cache = fast_start.find_cache(self._version, self._jars) if with_cache else None
        options = fast_start.use_options(cache) if cache else ()
        return [
            *self._java(self._place.home / "logging.properties", options),
            "kafka.Kafka",
            str(self._place.home / "server.properties"),
        ]

    def check_ports(self) -> None:
        """Raise a plain CommandError if one of the two ports is taken."""
        check_port_free(self._place.host, self._place.port, "kafka_port")
        check_port_free(self._place.host, self._place.controller_port, "kafka_controller_port")

    def start(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start the broker (prepared if need be) and return once it answers.

        Raises:
            BrokerError: if it does not.
        """
        if not self._jars:
            self.prepare()
        self.check_ports()
        self._spawn(self.command())
        if not self._wait_ready(timeout_s) and self._has_ended():
            # A start-up cache that went bad ends Java in many ways; without it the start is only slower.
            fast_start.discard_cache(self._version, self._jars)
            self._spawn(self.command(with_cache=False))
            self._wait_ready(timeout_s)
        if not self.is_ready():
            self.kill()
            raise BrokerError(f"Kafka did not answer within {timeout_s:.0f} s; see {self.log_file}.")

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop the broker in order, or by force if it takes too long."""
        if self._process is None:
            return
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the broker as a crash would: no warning, nothing written."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Freeze the broker: its port stays open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen broker go on."""
        self._signal(signal.SIGCONT)

    def is_ready(self) -> bool:
        """Tell whether the broker answers and may work."""
        return probe_kafka(self._place.host, self._place.port) is not None

    def _java(self, logging: Path | None, options: tuple[str, ...] = ()) -> list[str]:
        return java_command(
            fast_start.java_path(),
            self._jars,
            version=self._version,
            logging=logging,
            heap_mib=self._heap_mib,
            options=options,
        )

    def _format(self, step: StepCallback) -> None:
        """Format the storage unless it is; the id of the cluster is drawn once and kept with the data."""
        made_by = self._place.home / "version"
        if (self._place.home / "log" / "meta.properties").exists():
            self._check_version(made_by)
            return
        step("format the storage of Kafka")
        # What an interrupted try left is no data yet: records come after this file.
        shutil.rmtree(self._place.home / "log", ignore_errors=True)
        properties = self._place.home / "server.properties"
        tool = [*self._java(None), "kafka.tools.StorageTool"]
        # As the tool draws it, but without a second start of Java; the text must not look like an option.
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        done = subprocess.run(
            [*tool, "format", "-t", cluster_id, "-c", str(properties)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise BrokerError(f"The storage of Kafka could not be formatted: {last}.")
        made_by.write_text(self._version, encoding="utf-8")

    def _check_version(self, made_by: Path) -> None:
        """Refuse data that a newer Kafka wrote: an older one cannot read it and says so obscurely."""
        written = made_by.read_text(encoding="utf-8").strip() if made_by.exists() else self._version
        if _as_numbers(written) > _as_numbers(self._version):
            raise BrokerError(
                f"The data was written by Kafka {written} and Kafka {self._version} cannot read it; "
                "set kafka_version back or use another data_dir."
            )
        made_by.write_text(self._version, encoding="utf-8")

    def _spawn(self, command: list[str]) -> None:
        console = self._place.home / "console.log"
        with console.open("wb") as output:
            # A session of its own, so that Ctrl-C in a terminal reaches only who knows the order of stopping.
            self._process = subprocess.Popen(
                command,
                cwd=self._place.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_ready(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not self._has_ended():
            if self.is_ready():
                return True
            time.sleep(_POLL_S)
        return False

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)


def check_disk(folder: Path, what: str, remedy: str) -> None:
    """Raise BrokerError if there is too little room for Kafka to start; `what` and `remedy` go into the message.

    Raises:
        BrokerError: in plain words.
    """
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise BrokerError(
            f"Only {free >> 20} MiB are free where {what}, {FREE_BYTES_MIN >> 20} are needed; free some or {remedy}."
        )


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
