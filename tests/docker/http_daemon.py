"""A docker daemon that answers the real SDK over a unix socket, and whose containers are processes of this machine.

It speaks the part of the Docker API that `agents.docker_sdk` uses, and passes the contracts of the real daemon. A
container is a session of processes: no file system, no network and no limits of its own; a mount stands for its source.
Faults that a real daemon does not give on demand: `hangs`, `fail`, `drop`.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import socketserver
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

#: Versions that the SDK takes, newest as Debian's docker.io has it.
_VERSION = {"ApiVersion": "1.41", "Version": "0.0-test"}
#: A handler that hangs is let go at the end of its test, or after this.
_HANG_MAX_S = 60.0
_WAIT_S = 10.0
#: Words of `State.Status`.
_CREATED, _RUNNING, _EXITED = "created", "running", "exited"


class Refusal(Exception):  # noqa: N818 - an answer of the daemon, not a fault of ours
    """What the daemon says instead."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Container:
    """One container: what was asked for, and its first process once it was started."""

    def __init__(self, number: int, name: str, asked: dict[str, Any]) -> None:
        self.id = f"{number:064x}"
        self.name = name
        self.asked = asked
        self.process: subprocess.Popen[bytes] | None = None
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the container

    @property
    def code(self) -> int | None:
        """Exit code as docker has it, None while it runs or was never started."""
        code = self.process.poll() if self.process is not None else None
        return code if code is None or code >= 0 else 128 - code

    @property
    def status(self) -> str:
        """The daemon's word."""
        if self.process is None:
            return _CREATED
        return _RUNNING if self.code is None else _EXITED

    def start(self) -> None:
        """Start its command as a session of its own."""
        binds = [bind.split(":") for bind in self.asked["HostConfig"].get("Binds") or []]
        env = dict(word.partition("=")[::2] for word in self.asked.get("Env") or [])
        for source, target, *_ in binds:
            env = {key: re.sub(rf"{re.escape(target)}(?=[:/]|$)", source, it) for key, it in env.items()}
        self.process = subprocess.Popen(
            self.asked["Cmd"],
            env={"PATH": os.environ["PATH"], **env},
            cwd=self.asked.get("WorkingDir") or "/",
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def signal(self, number: int) -> None:
        """To its first process; a kill to all of it, as the end of a container is."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            (os.killpg if number == signal.SIGKILL else os.kill)(self.process.pid, number)

    def end(self) -> None:
        """Be gone."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait(_WAIT_S)
        self.log.close()

    def inspect(self) -> dict[str, Any]:
        """As `docker inspect` shows it."""
        config = self.asked["HostConfig"]
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Config": {"Labels": self.asked.get("Labels") or {}, "Tty": False},
            "State": {
                "Status": self.status,
                "Pid": self.process.pid if self.process is not None and self.code is None else 0,
                "ExitCode": self.code or 0,
                "OOMKilled": False,
            },
            "HostConfig": {"NetworkMode": config.get("NetworkMode", "host")},
            "NetworkSettings": {"Networks": {}},
        }


class HttpDaemon:
    """A running daemon; `host` is its address."""

    def __init__(self, image: str) -> None:
        self.image = image
        self._folder = tempfile.TemporaryDirectory(prefix="watchkeep-docker-")
        path = str(Path(self._folder.name) / "docker.sock")
        self.host = f"unix://{path}"
        self.containers: dict[str, _Container] = {}
        #: Answers nothing while it is set.
        self.hangs = threading.Event()
        self._goes_on = threading.Event()
        #: Method and end of the path -> status, and whether it does it first; each counts once.
        self._faults: dict[tuple[str, str], tuple[int, bool]] = {}
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._server = _Server(path, _Handler)
        self._server.daemon_of = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="docker-http")

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, with every container."""
        self.go_on()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for container in self.containers.values():
            container.end()
        self._folder.cleanup()

    def fail(self, method: str, end_of_path: str, status: int) -> None:
        """Answer the next such call with this status and do nothing."""
        self._faults[method, end_of_path] = (status, False)

    def drop(self, method: str, end_of_path: str) -> None:
        """Do what the next such call asks, and close the connection without an answer."""
        self._faults[method, end_of_path] = (0, True)

    def go_on(self) -> None:
        """Hang no more; calls that wait are answered."""
        self.hangs.clear()
        self._goes_on.set()

    def take(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes] | None:
        """The answer to one call, None for none at all."""
        if self.hangs.is_set():
            self._goes_on.wait(_HANG_MAX_S)
        found = next(
            (key for key in self._faults if key[0] == method and path.endswith(key[1])),
            None,
        )
        status, is_done_first = self._faults.pop(found) if found else (0, True)
        if status:
            return status, _encode({"message": f"made to fail: {method} {path}"})
        try:
            with self._lock:
                answer = self._do(method, path.strip("/").split("/"), query, body)
        except Refusal as refusal:
            answer = refusal.status, _encode({"message": str(refusal)})
        return None if found and is_done_first else answer

    def _do(self, method: str, words: list[str], query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        match method, words:
            case "GET", ["version"]:
                return 200, _encode(_VERSION)
            case (("GET" | "HEAD"), ["_ping"]):
                return 200, b"OK"
            case "GET", ["networks", _]:
                return 200, _encode({"IPAM": {"Config": [{"Gateway": "127.0.0.1"}]}})
            case "GET", ["images", *name, "json"]:
                if "/".join(name) != self.image:
                    raise Refusal(404, f"No such image: {'/'.join(name)}")
                return 200, _encode({"Id": "sha256:0", "Config": {"Env": [f"PATH={os.environ['PATH']}"]}})
            case "POST", ["containers", "create"]:
                return self._create(query.get("name", ""), json.loads(body))
            case "GET", ["containers", "json"]:
                wanted = json.loads(query.get("filters", "{}")).get("label", [])
                return 200, _encode([{"Id": it.id} for it in self.containers.values() if _has(it, wanted)])
            case _, ["containers", key, *rest]:
                return self._do_with(self._find(unquote(key)), method, rest, query)
        raise Refusal(404, f"page not found: {method} {words}")

    def _do_with(
        self, it: _Container, method: str, rest: list[str], query: dict[str, str]
    ) -> tuple[int, bytes]:
        match method, rest:
            case "GET", ["json"]:
                return 200, _encode(it.inspect())
            case "POST", ["start"]:
                if it.process is not None:
                    return 304, b""
                it.start()
            case "POST", ["kill"]:
                if it.status != _RUNNING:
                    raise Refusal(409, f"Container {it.id} is not running")
                it.signal(signal.Signals[query["signal"]])
            case "DELETE", []:
                it.end()
                del self.containers[it.id]
            case "GET", ["logs"]:
                lines = os.pread(it.log.fileno(), 1 << 20, 0).splitlines(keepends=True)
                content = b"".join(lines[-int(query["tail"]) :])
                return 200, struct.pack("!BxxxI", 1, len(content)) + content if content else b""
            case "HEAD", ["archive"]:
                return (200 if shutil.which(query["path"]) else 404), b""
            case _:
                raise Refusal(404, f"page not found: {method} {rest}")
        return 204, b""

    def _create(self, name: str, asked: dict[str, Any]) -> tuple[int, bytes]:
        if any(it.name == name for it in self.containers.values()):
            raise Refusal(409, f"Conflict. The container name {name} is already in use")
        made = _Container(next(self._numbers), name, asked)
        self.containers[made.id] = made
        return 201, _encode({"Id": made.id, "Warnings": []})

    def _find(self, key: str) -> _Container:
        for it in self.containers.values():
            if key in (it.id, it.name):
                return it
        raise Refusal(404, f"No such container: {key}")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    daemon_of: HttpDaemon


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def __getattr__(self, name: str) -> Callable[[], None]:
        """`do_GET` and its like: one answer for all."""
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._answer

    def address_string(self) -> str:
        """A unix socket has none."""
        return "socket"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        answer = self.server.daemon_of.take(self.command, re.sub(r"^/v[0-9.]+", "", url.path), query, body)
        if answer is None:
            self.close_connection = True
            return
        status, content = answer
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.command != "HEAD" else b"")


def _encode(value: object) -> bytes:
    return json.dumps(value).encode()


def _has(container: _Container, labels: list[str]) -> bool:
    """Whether it carries all of them."""
    own = container.asked.get("Labels") or {}
    return all(own.get(key) == value for key, _, value in (it.partition("=") for it in labels))
