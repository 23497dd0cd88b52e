"""The hosts of a pool, as a TOML file names them. Shell of the agents.

A wrong file is refused whole, with the line, the key and what is allowed.
"""

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=1, le=65_535)]
Text = Annotated[str, Meta(min_length=1, max_length=500)]

#: A pool has at most so many nodes by default (policy `pool_nodes_max`), so more hosts are a mistake.
HOSTS_MAX = 1_000
_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
_HOST_KEY = re.compile(rf"({'|'.join(_KEY_TYPES)}) [A-Za-z0-9+/]+=*( .*)?")


class HostsError(ValueError):
    """A hosts file cannot be read or is wrong; the text is one sentence for a person."""


class HostConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine that takes nodes, and how it is reached."""

    #: Name or address to connect to.
    host: Text
    user: Text
    #: File of the private key, without a passphrase; relative to the hosts file.
    key: Text
    #: The host's public key, `ssh-ed25519 AAAA...`: what `ssh-keyscan` prints, compared with what the host shows on
    #: its own console. A host that answers with another one is not talked to.
    host_key: Text
    #: Of its ssh server.
    port: Port = 22
    #: Address that its nodes listen on and are named after; empty: `host`, which must be an address then.
    ip: str = ""
    #: Lowest port of its nodes; 0: as the pool.
    port_base: Annotated[int, Meta(ge=0, le=65_535)] = 0
    #: Most nodes at once. A node has slots of its own, so one a machine is usual.
    nodes_max: Annotated[int, Meta(ge=1, le=1_000)] = 1
    #: Apps that each of its nodes takes; 0: as the pool's others.
    slots: Annotated[int, Meta(ge=0, le=1_000)] = 0
    #: Program of a Python with the packages of `constraints.txt`; `~/` is the user's own folder.
    python: Text = "python3"
    #: Folder there for code, nodes and secrets; `~` is the user's own.
    home: Text = "~/.watchkeep"

    @property
    def name(self) -> str:
        """What it is called in books and messages."""
        return f"{self.host}:{self.port}"

    @property
    def node_ip(self) -> str:
        """Address of its nodes."""
        return self.ip or self.host


class _Hosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hosts: list[HostConfig]


def read_hosts(path: Path) -> list[HostConfig]:
    """The hosts that a file names.

    Raises:
        HostsError: it cannot be read or is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HostsError(f"{path}: cannot be read: {error}") from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise HostsError(f"{path}: no TOML: {error}") from None
    try:
        hosts = msgspec.convert(raw, _Hosts).hosts
    except msgspec.ValidationError as error:
        raise HostsError(f"{path}{_line_of(text, str(error))}: {_in_words(str(error))}") from None
    if not 1 <= len(hosts) <= HOSTS_MAX:
        raise HostsError(f"{path}: {len(hosts)} tables [[hosts]], allowed are 1 to {HOSTS_MAX}")
    for number, host in enumerate(hosts):
        problem = _problem_of(host, path.parent, hosts[:number])
        if problem:
            key, what = problem
            raise HostsError(f"{path}{_place(text, number, key)}: {key}: {what}")
    return [msgspec.structs.replace(it, key=str(path.parent / Path(it.key).expanduser())) for it in hosts]


def _problem_of(host: HostConfig, folder: Path, before: list[HostConfig]) -> tuple[str, str] | None:
    """Key and fault of a host, None if it is right."""
    if not _HOST_KEY.fullmatch(host.host_key):
        return "host_key", f"a public key is wanted, `TYPE BASE64`, with a type of {', '.join(_KEY_TYPES)}"
    try:
        ipaddress.ip_address(host.node_ip)
    except ValueError:
        if host.ip:
            return "ip", f"{host.ip!r} is no address"
        return "host", f"{host.host!r} is no address: say with `ip` which one its nodes listen on"
    if not (folder / Path(host.key).expanduser()).is_file():
        return "key", f"there is no file {folder / Path(host.key).expanduser()}"
    for other in before:
        if other.node_ip == host.node_ip:
            return "ip" if host.ip else "host", (
                f"{host.node_ip} is the address of another host's nodes already; nodes are named after it"
            )
        if other.name == host.name:
            return "host", f"{host.name} stands here twice"
    return None


_WHERE = re.compile(r" - at `\$(?:\.hosts\[(?P<number>\d+)\])?(?:\.(?P<key>\w+))?`")
_FIELD = re.compile(r"(?:unknown field|missing required field) `([^`]*)`")


def _in_words(fault: str) -> str:
    """A fault that msgspec found, with the key and what else is allowed."""
    where = _WHERE.search(fault)
    what = _WHERE.sub("", fault)
    if "unknown field" in what:
        allowed = HostConfig.__struct_fields__ if where else _Hosts.__struct_fields__
        what = f"{what}; allowed are {', '.join(allowed)}"
    key = where.group("key") if where else None
    return f"{key}: {what}" if key else what


def _line_of(text: str, fault: str) -> str:
    """`:LINE` of a fault that msgspec found, empty if it is about the file as a whole."""
    where, field = _WHERE.search(fault), _FIELD.search(fault)
    key = field.group(1) if field else where.group("key") if where else None
    number = where.group("number") if where else None
    return _place(text, int(number) if number is not None else None, key)


def _place(text: str, number: int | None, key: str | None) -> str:
    """`:LINE` of a key in a host's table, or of the table if the key is not there."""
    table, at = -1, ""
    for line, content in enumerate(text.splitlines(), 1):
        if re.match(r"\s*\[\[\s*hosts\s*\]\]", content):
            table += 1
            if table == number:
                at = f":{line}"
        if (number is None or table == number) and key and re.match(rf"\s*{re.escape(key)}\s*=", content):
            return f":{line}"
    return at
