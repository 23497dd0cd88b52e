"""Azure's resource manager, as far as libcloud asks it: recorded answers, and what was asked before decides which.

The shapes are those of libcloud's own recordings (its test fixtures `azure_arm`), the codes those of Azure's public
description of its REST interface. It stands where the HTTP connection would be.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import requests

_FOLDER = Path(__file__).parent / "azure"
_MACHINES = "/subscriptions/99999999/resourceGroups/watch/providers/Microsoft.Compute/virtualMachines"
_INTERFACES = "/subscriptions/99999999/resourceGroups/watch/providers/Microsoft.Network/networkInterfaces"


class Azure:
    """The account: machines, interfaces, disks, and all that was asked."""

    def __init__(self) -> None:
        self.machines: dict[str, dict[str, Any]] = {}
        self.interfaces: dict[str, dict[str, Any]] = {}
        self.disks: set[str] = set()
        self.power = "PowerState/running"
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.logins: list[dict[str, list[str]]] = []
        #: Answers given instead of the usual one, to the next requests of that method.
        self.instead: list[tuple[str, int, dict[str, Any], dict[str, str]]] = []

    def answer(self, method: str, url: str, body: str | None) -> tuple[int, Any, dict[str, str]]:
        """Code, document and headers."""
        path = urlparse(url).path
        if path.endswith("/oauth2/token"):
            self.logins.append(parse_qs(body or ""))
            return 200, _recorded("token"), {}
        assert parse_qs(urlparse(url).query)["api-version"]
        self.asked.append((method, path))
        for number, (wanted, code, document, headers) in enumerate(self.instead):
            if wanted == method:
                del self.instead[number]
                return code, document, headers
        if method == "PUT":
            self.bodies.append(json.loads(body or ""))
        if path.startswith(_MACHINES):
            return self._machine(method, path.removeprefix(_MACHINES).strip("/"))
        if path.startswith(_INTERFACES):
            return self._interface(method, path.removeprefix(_INTERFACES).strip("/"))
        disk = re.fullmatch(r".*/Microsoft\.Compute/disks/([^/]+)", path)
        assert disk is not None, path
        assert method == "DELETE"
        self.disks.discard(disk[1])
        return 202, "", {}

    def _machine(self, method: str, rest: str) -> tuple[int, Any, dict[str, str]]:
        name, _, verb = rest.partition("/")
        if not name:
            return 200, {"value": list(self.machines.values())}, {}
        if method == "PUT":
            asked = self.bodies[-1]
            machine = self.machines[name] = _recorded("machine", name) | {"tags": asked["tags"]}
            self.disks.add(name)
            interface = self.interfaces[
                asked["properties"]["networkProfile"]["networkInterfaces"][0]["id"].split("/")[-1]
            ]
            interface["properties"]["virtualMachine"] = {"id": machine["id"]}
            return 201, machine, {}
        if name not in self.machines:
            return (204, "", {}) if method == "DELETE" else (404, _error("ResourceNotFound"), {})
        if verb == "InstanceView":
            view = _recorded("view")
            view["statuses"][1]["code"] = self.power
            return 200, view, {}
        if verb in {"deallocate", "start"}:
            self.power = "PowerState/deallocated" if verb == "deallocate" else "PowerState/running"
            return 202, "", {}
        if method == "DELETE":
            del self.machines[name]
            for interface in self.interfaces.values():
                if interface["name"] == f"{name}-nic":
                    interface["properties"].pop("virtualMachine", None)
            return 202, "", {}
        return 200, self.machines[name], {}

    def _interface(self, method: str, name: str) -> tuple[int, Any, dict[str, str]]:
        if not name:
            return 200, {"value": list(self.interfaces.values())}, {}
        if method == "PUT":
            self.interfaces[name] = _recorded("interface", name.removesuffix("-nic"))
            return 201, self.interfaces[name], {}
        if name not in self.interfaces:
            return (204, "", {}) if method == "DELETE" else (404, _error("ResourceNotFound"), {})
        if method == "DELETE":
            del self.interfaces[name]
            return 202, "", {}
        return 200, self.interfaces[name], {}

    def custom_data(self) -> str:
        """The user data of the last machine that was asked for."""
        return base64.b64decode(self.bodies[-1]["properties"]["osProfile"]["customData"]).decode()


def connection_class(azure: Azure) -> type:
    """What libcloud opens instead of an HTTP connection."""

    class Connection:
        def __init__(self, host: str, port: int, **_: Any) -> None:
            assert (host, port) in {("management.azure.com", 443), ("login.microsoftonline.com", 443)}
            self._response = requests.Response()

        def connect(self) -> None:
            """Nothing to open."""

        def close(self) -> None:
            """Nothing to close."""

        def set_http_proxy(self, proxy_url: str) -> None:
            """Nobody asks for one."""

        def request(self, method: str, url: str, body: str | None = None, *_: Any, **__: Any) -> None:
            """Answer at once."""
            assert body is None or isinstance(body, str)
            code, document, shown = azure.answer(method, url, body)
            self._response = requests.Response()
            self._response.status_code = code
            self._response.headers.update(shown)
            self._response._content = (
                document if isinstance(document, str) else json.dumps(document)
            ).encode()

        def getresponse(self) -> requests.Response:
            """The answer."""
            return self._response

    return Connection


def _recorded(name: str, machine: str = "NAME") -> Any:
    return json.loads((_FOLDER / f"{name}.json").read_text().replace("NAME", machine))


def _error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "recorded"}}


def busy(method: str) -> tuple[str, int, dict[str, Any], dict[str, str]]:
    """Azure's answer to too many requests."""
    return method, 429, _error("TooManyRequests"), {"retry-after": "1"}
