"""A docker daemon through the docker SDK for Python. Shell of the agents.

The SDK is imported when a client is made: 0.2 s and 15 MiB that no agent without docker pays.
"""

import contextlib
import os
import posixpath
import socket
from collections.abc import Iterator
from typing import Any, Literal

from agents.containers import Container, ContainerError, ContainerPlan, DaemonAwayError, NoContainerError
from sdk.contract.frames import Terminal

#: Patience with one answer of the daemon. A start takes 0.1 to 0.3 s, on an overloaded machine some seconds.
ANSWER_WITHIN_S = 10.0
#: A log is set aside at this size and one older file kept, as for apps that are processes.
_LOG_OPTIONS = {"max-size": "4m", "max-file": "2"}
#: Room for what an app with a read-only root writes to /tmp.
_TMP_OPTIONS = "size=64m,mode=1777"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Where a daemon listens that nobody told otherwise.
USUAL_HOST = "unix:///var/run/docker.sock"
_NOT_FOUND, _CONFLICT = 404, 409


class DockerContainers:
    """The daemon at `host`, or where DOCKER_HOST says, or at the usual socket."""

    def __init__(self, host: str = "", *, shares_pids: bool = True) -> None:
        """Connect to it; without `shares_pids` its pids are of another namespace, and each is told as 0."""
        import docker
        from docker import errors

        self._errors: Any = errors
        self._shares_pids = shares_pids
        _check_socket(host or os.environ.get("DOCKER_HOST") or USUAL_HOST)
        with self._plain_errors():
            if host:
                self._client: Any = docker.DockerClient(base_url=host, timeout=ANSWER_WITHIN_S)
            else:
                self._client = docker.from_env(timeout=ANSWER_WITHIN_S)
        self._api = self._client.api

    def close(self) -> None:
        """Let go of its connections."""
        self._client.close()

    def ping(self) -> None:
        """Return if the daemon answers."""
        with self._plain_errors():
            self._api.ping()

    def run(self, plan: ContainerPlan) -> Container:
        """Create and start."""
        with self._plain_errors():
            image = self._image(plan.image)
            try:
                container = self._create(plan)
            except self._errors.APIError as error:
                if error.status_code != _CONFLICT:
                    raise
                found = self.look_up(plan.name)
                if found.labels.items() < plan.labels.items():
                    raise ContainerError(f"a container {plan.name} that is not ours is there") from None
                if found.status != "created":
                    return found
                container = found.id
            try:
                self._check_program(container, plan, image)
                self._api.start(container)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._api.remove_container(container, force=True)
                raise
            return self.look_up(container)

    def list_labelled(self, labels: dict[str, str]) -> list[Container]:
        """All with these labels; one that goes away meanwhile is left out."""
        wanted = [f"{key}={value}" for key, value in labels.items()]
        found = []
        with self._plain_errors():
            for row in self._api.containers(all=True, filters={"label": wanted}):
                with contextlib.suppress(NoContainerError):
                    found.append(self.look_up(row["Id"]))
        return found

    def look_up(self, container: str) -> Container:
        """One container."""
        with self._plain_errors():
            seen = self._api.inspect_container(container)
        state = seen["State"]
        status = state["Status"]
        networks = seen["NetworkSettings"].get("Networks") or {}
        return Container(
            id=seen["Id"],
            name=seen["Name"].removeprefix("/"),
            labels=seen["Config"]["Labels"] or {},
            status=status,
            pid=state["Pid"] if self._shares_pids else 0,
            exit_code=state["ExitCode"] if status in ("exited", "dead") else None,
            out_of_memory=bool(state.get("OOMKilled")),
            network=seen["HostConfig"]["NetworkMode"],
            ip=next((it["IPAddress"] for it in networks.values() if it.get("IPAddress")), ""),
        )

    def signal(self, container: str, number: Literal["SIGTERM", "SIGKILL"]) -> None:
        """Signal what runs."""
        with self._plain_errors():
            if self.look_up(container).status == "paused":
                with contextlib.suppress(self._errors.APIError):
                    self._api.unpause(container)
            try:
                self._api.kill(container, number)
            except self._errors.APIError as error:
                if error.status_code != _CONFLICT:
                    raise

    def remove(self, container: str) -> None:
        """Remove, with what it keeps."""
        try:
            with self._plain_errors():
                self._api.remove_container(container, force=True, v=True)
        except NoContainerError:
            return
        except ContainerError as error:
            # Somebody else removes it at this moment.
            if "already in progress" not in str(error):
                raise

    def log_tail(self, container: str, lines: int) -> bytes:
        """What it wrote last."""
        with self._plain_errors():
            tail: bytes = self._api.logs(container, tail=lines)
        return tail

    def execute(
        self, container: str, command: list[str], terminal: Terminal | None = None
    ) -> tuple[str, socket.socket, bytes]:
        """Begin a command."""
        has_terminal = terminal is not None
        env = {"TERM": terminal.kind} if terminal is not None and terminal.kind else None
        with self._plain_errors():
            made = self._api.exec_create(container, command, stdin=True, tty=has_terminal, environment=env)[
                "Id"
            ]
            # The SDK's own start gives a socket that has lost what its HTTP library read ahead.
            answer = self._api._post_json(  # noqa: SLF001
                self._api._url("/exec/{0}/start", made),  # noqa: SLF001
                data={"Tty": has_terminal, "Detach": False},
                headers={"Connection": "Upgrade", "Upgrade": "tcp"},
                stream=True,
            )
            self._api._raise_for_status(answer)  # noqa: SLF001 - as the SDK does it
            buffered = answer.raw._fp.fp  # noqa: SLF001 - as the SDK does it
            inner = buffered.raw._sock  # noqa: SLF001
            inner.setblocking(False)
            early = buffered.peek()
            connection = socket.socket(fileno=os.dup(inner.fileno()))
            answer.close()
        connection.setblocking(False)
        if terminal is not None:
            with contextlib.suppress(ContainerError):
                self.resize_command(made, terminal.rows, terminal.columns)
        return made, connection, early

    def resize_command(self, command: str, rows: int, columns: int) -> None:
        """Docker refuses a terminal without rows or columns."""
        if rows and columns:
            with self._plain_errors():
                self._api.exec_resize(command, height=rows, width=columns)

    def look_up_command(self, command: str) -> tuple[int, int | None]:
        """Pid and exit code."""
        with self._plain_errors():
            seen = self._api.exec_inspect(command)
        pid = seen.get("Pid") or 0
        return pid if self._shares_pids else 0, None if seen["Running"] else seen["ExitCode"]

    def import_image(self, name: str, tar: Any, *, labels: dict[str, str], within_s: float) -> str:
        """Make an image of a file system as a tar; its id."""
        url = self._api._url("/images/create")  # noqa: SLF001 - the SDK's own import reads the tar into memory
        with self._plain_errors():
            repository, _, tag = name.partition(":")
            answer = self._api.post(
                url,
                data=tar,
                params={
                    "fromSrc": "-",
                    "repo": repository,
                    "tag": tag or "latest",
                    "changes": [
                        "ENV PATH=/usr/local/bin:/usr/bin:/bin",
                        "WORKDIR /app",
                        'CMD ["python3"]',
                        *(f"LABEL {key}={value}" for key, value in labels.items()),
                    ],
                },
                headers={"Content-Type": "application/tar"},
                timeout=within_s,
            )
            self._api._raise_for_status(answer)  # noqa: SLF001 - as the SDK does it
            found: dict[str, Any] = self._image(name)
        return str(found["Id"])

    def image_labels(self, name: str) -> dict[str, str]:
        """The labels of an image."""
        with self._plain_errors():
            return self._image(name)["Config"].get("Labels") or {}

    def gateway(self, network: str) -> str:
        """The machine's address in a bridge network."""
        with self._plain_errors():
            settings = self._api.inspect_network(network)["IPAM"]["Config"] or []
        address = next((it["Gateway"] for it in settings if it.get("Gateway")), "")
        if not address:
            raise ContainerError(f"the docker network {network} has no gateway")
        return str(address)

    def _image(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._api.inspect_image(name)
        except self._errors.NotFound:
            raise ContainerError(
                f"there is no image {name} on this machine, and none is ever pulled: load or build it here"
            ) from None
        return found

    def _create(self, plan: ContainerPlan) -> str:
        api = self._api
        created = api.create_container(
            plan.image,
            plan.command,
            name=plan.name,
            environment=plan.env,
            labels=plan.labels,
            user=plan.user or None,
            working_dir=plan.working_dir or None,
            # A command stands for itself: an entry point of the image would change what is started.
            entrypoint=[],
            host_config=api.create_host_config(
                network_mode=plan.network,
                # As the first process of a container a program is deaf to SIGTERM and nobody reaps orphans.
                init=True,
                read_only=plan.read_only,
                tmpfs={"/tmp": _TMP_OPTIONS} if plan.read_only else None,  # noqa: S108 - in the container
                security_opt=["no-new-privileges"],
                mem_limit=plan.memory_mib << 20 if plan.memory_mib else None,
                memswap_limit=plan.memory_mib << 20 if plan.memory_mib else None,
                nano_cpus=plan.cpu_percent * 10_000_000 if plan.cpu_percent else None,
                binds={
                    it.source: {"bind": it.target, "mode": "ro" if it.read_only else "rw"}
                    for it in plan.mounts
                },
                log_config={"Type": "json-file", "Config": _LOG_OPTIONS},
                # Who starts again what has ended is decided on the log, not here.
                restart_policy={"Name": "no"},
            ),
        )
        return str(created["Id"])

    def _check_program(self, container: str, plan: ContainerPlan, image: dict[str, Any]) -> None:
        """Raise unless the program is in the image: its init would start and end with 127 only after the start."""
        program = plan.command[0]
        settings = image["Config"] or {}
        if "/" in program:
            folder = plan.working_dir or settings.get("WorkingDir") or "/"
            places = [posixpath.join(folder, program)]
        else:
            image_env = dict(word.partition("=")[::2] for word in settings.get("Env") or [])
            path = plan.env.get("PATH") or image_env.get("PATH") or _PATH
            places = [posixpath.join(folder, program) for folder in path.split(":") if folder]
        if not any(self._has_file(container, place) for place in places):
            raise ContainerError(f"cannot start {program!r}: there is no such program in {plan.image}")

    def _has_file(self, container: str, path: str) -> bool:
        # The SDK fetches files but has no word for asking whether one is there.
        url = self._api._url("/containers/{0}/archive", container)  # noqa: SLF001
        answer = self._api.head(url, params={"path": path}, timeout=ANSWER_WITHIN_S)
        return bool(answer.ok)

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """Turn what the SDK and its HTTP library raise into errors of ours."""
        import requests

        try:
            yield
        except self._errors.NotFound as error:
            raise NoContainerError(_said(error)) from None
        except self._errors.APIError as error:
            raise ContainerError(_said(error)) from None
        except self._errors.DockerException as error:
            raise DaemonAwayError(f"the docker daemon does not answer: {error}") from None
        except requests.RequestException as error:
            raise DaemonAwayError(f"the docker daemon does not answer: {error}") from None


def _check_socket(host: str) -> None:
    """Raise unless somebody listens on a local socket: the SDK's own failure to connect leaks one each time."""
    if not host.startswith("unix://"):
        return
    path = "/" + host.removeprefix("unix://").lstrip("/")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(ANSWER_WITHIN_S)
        try:
            probe.connect(path)
        except OSError as error:
            why = f"{path}: {error.strerror or error}"
            raise DaemonAwayError(f"the docker daemon does not answer: {why}") from None


def _said(error: Any) -> str:
    """The daemon's own words."""
    return str(error.explanation or error)
