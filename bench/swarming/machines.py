"""Machines of a Docker Swarm: each a docker daemon in a network namespace and under a hostname of its own. Shell.

1. A machine's processes are the daemon, its containerd, the shims and all that runs in containers: they are known by
   the machine's folder in their command lines, and by who started them.
2. Killing or stopping a machine is killing or stopping all of them; its folder stays, as a disk would.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import docker
import psutil
from docker.errors import DockerException

from agents.docker_image import write_tar
from bench.results import BenchError
from bench.returning.spaces import make_space

IMAGE: Final = "watchkeep/swarm:local"
#: A daemon is there after 1 to 3 s on a free machine.
_START_WITHIN_S: Final = 60
_END_WITHIN_S: Final = 15
_API_WITHIN_S: Final = 60
#: Numbers of machines begin here: an address is made of each.
_FIRST: Final = 20_001


class Machine:
    """One of them."""

    def __init__(self, hub: str, number: int, folder: Path) -> None:
        self.name = f"machine-{number}"
        self._space, self.address = make_space(hub, _FIRST + number)
        self._folder = folder / self.name
        self._folder.mkdir(parents=True)
        self._api: Any = None

    def start(self) -> None:
        """Start its daemon and wait until it answers.

        Raises:
            BenchError: it does not.
        """
        # Left by a daemon that was killed.
        self._unmount()
        run = self._folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        (run / "exec").mkdir(parents=True)
        words = [
            *("dockerd", "--data-root", str(self._folder / "data"), "--exec-root", str(run / "exec")),
            *("--pidfile", str(run / "dockerd.pid"), "-H", f"unix://{run}/docker.sock"),
            *("--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "overlay2"),
        ]
        # `nsenter --net` alone: with `ip netns exec` the cgroups would be hidden from it.
        script = f'echo {self.name} > /proc/sys/kernel/hostname && exec "$@"'
        with (self._folder / "dockerd.log").open("ab") as log:
            process = subprocess.Popen(
                ["nsenter", f"--net={self._space}", "unshare", "--uts", "sh", "-c", script, "sh", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until_s = time.monotonic() + _START_WITHIN_S
        while not self._answers():
            if process.poll() is not None or time.monotonic() >= until_s:
                raise BenchError(f"the docker daemon of {self.name} does not start: {self._last_words()}")
            time.sleep(0.05)

    @property
    def api(self) -> Any:
        """Its docker API."""
        return self._api

    def load_image(self) -> None:
        """Import the image: there is no registry."""
        tar = io.BytesIO()
        write_tar(tar)
        repository, _, tag = IMAGE.partition(":")
        self._api.api.import_image_from_data(tar.getvalue(), repository=repository, tag=tag)

    def kill(self) -> None:
        """Kill all that runs on it."""
        until_s = time.monotonic() + _END_WITHIN_S
        while processes := self.processes():
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            if time.monotonic() >= until_s:
                raise BenchError(f"processes of {self.name} do not end: {[it.pid for it in processes]}")

    def stop(self) -> None:
        """Let all that runs on it stand still."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def processes(self) -> list[psutil.Process]:
        """All that runs on it."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self._folder) in word for word in process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found.update({it.pid: it for it in (process, *process.children(recursive=True))})
        return [it for it in found.values() if _runs(it)]

    def remove(self) -> None:
        """Take away what it leaves behind: processes, mounts, files."""
        self.go_on()
        self.kill()
        self._unmount()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _unmount(self) -> None:
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            point = line.split(" ")[1]
            if point.startswith(f"{self._folder}/"):
                subprocess.run(["umount", "-l", point], check=False, capture_output=True)

    def _send(self, number: signal.Signals) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _answers(self) -> bool:
        address = f"unix://{self._folder}/run/docker.sock"
        try:
            self._api = docker.DockerClient(base_url=address, timeout=_API_WITHIN_S)
            return bool(self._api.ping())
        except (DockerException, OSError):
            return False

    def _last_words(self) -> str:
        lines = (self._folder / "dockerd.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


class Swarm:
    """A manager that runs no tasks, and workers."""

    def __init__(self, hub: str, folder: Path, *, workers: int, say: Callable[[str], None]) -> None:
        self._say = say
        self.machines: list[Machine] = []
        self._hub, self._folder, self._count = hub, folder, 1 + workers

    def __enter__(self) -> Self:
        """Start the machines and join them.

        Raises:
            BenchError: no docker daemon can be had here.
        """
        if shutil.which("dockerd") is None or os.geteuid() != 0:
            raise BenchError("a swarm takes root and dockerd; `scripts/docker-daemon start` installs it")
        try:
            for number in range(self._count):
                self._say(f"machine {number + 1} of {self._count} starts")
                machine = Machine(self._hub, number, self._folder)
                self.machines.append(machine)
                machine.start()
                if number:
                    machine.load_image()
            self._join()
        except (DockerException, OSError) as error:
            self.__exit__()
            raise BenchError(f"no swarm can be made: {error}") from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Take all of it away."""
        for machine in self.machines:
            machine.remove()

    def _join(self) -> None:
        swarm = self.manager.api.swarm
        address = self.manager.address
        swarm.init(advertise_addr=address, listen_addr=f"{address}:2377", data_path_addr=address)
        swarm.reload()
        token = swarm.attrs["JoinTokens"]["Worker"]
        for machine in self.workers:
            machine.api.swarm.join(
                remote_addrs=[f"{address}:2377"],
                join_token=token,
                advertise_addr=machine.address,
                listen_addr=f"{machine.address}:2377",
                data_path_addr=machine.address,
            )

    @property
    def manager(self) -> Machine:
        """The one that decides."""
        return self.machines[0]

    @property
    def workers(self) -> list[Machine]:
        """Those that run tasks."""
        return self.machines[1:]

    def states(self) -> dict[str, str]:
        """What the manager takes each machine for; nothing while it does not answer."""
        try:
            nodes = self.manager.api.nodes.list()
        except (DockerException, OSError):
            return {}
        # A machine that joined again has an older entry too, which is down.
        return dict(_state_of(node) for node in sorted(nodes, key=lambda it: str(it.attrs["UpdatedAt"])))


def _state_of(node: Any) -> tuple[str, str]:
    return node.attrs["Description"]["Hostname"], node.attrs["Status"]["State"]


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def swarm_of(hub: str, folder: Path, *, workers: int, say: Callable[[str], None]) -> Iterator[Swarm]:
    """A swarm for a while."""
    with Swarm(hub, folder, workers=workers, say=say) as swarm:
        yield swarm
