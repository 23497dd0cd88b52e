"""Hosts files: what is right, and how a wrong one is refused."""

from __future__ import annotations

import re
from pathlib import Path

import asyncssh
import pytest

from agents.provisioner import create_provider
from agents.settings import PoolConfig, SshConfig
from agents.spawner import PlainSpawner
from agents.ssh_hosts import HostConfig, HostsError, read_hosts

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBsJ0zM0n8mZ6lqf7bB0m1rH7hT0o0m5cX8K0pQ1p8aZ"
RIGHT = f"""
[[hosts]]
host = "10.0.0.5"
user = "watchkeep"
key = "id"
host_key = "{KEY}"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be; a key lies beside it."""
    (tmp_path / "id").write_text("")
    return tmp_path / "hosts.toml"


def test_least_that_must_be_said(path: Path) -> None:
    """Four keys are enough; the key's file is beside the hosts file, and nodes listen on the host's address."""
    path.write_text(RIGHT)
    (host,) = read_hosts(path)
    assert (host.name, host.node_ip, host.nodes_max) == ("10.0.0.5:22", "10.0.0.5", 1)
    assert host.key == str(path.parent / "id")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hosts = [", ": no TOML: "),
        ("", ": Object missing required field `hosts`"),
        ("hosts = 1", ":1: hosts: Expected `array`, got `int`"),
        ("hosts = []", ": 0 tables [[hosts]], allowed are 1 to 1000"),
        ("host = 1\n" + RIGHT, ":1: Object contains unknown field `host`; allowed are hosts"),
        (
            RIGHT + "prot = 1\n",
            ":7: Object contains unknown field `prot`; allowed are host, user, key, host_key, port",
        ),
        (
            RIGHT + RIGHT.replace("10.0.0.5", "10.0.0.6") + "port = 'a'\n",
            ":13: port: Expected `int`, got `str`",
        ),
        (RIGHT + "port = 70000\n", ":7: port: Expected `int` <= 65535"),
        (RIGHT + "nodes_max = 0\n", ":7: nodes_max: Expected `int` >= 1"),
        (RIGHT.replace('user = "watchkeep"', ""), ":2: Object missing required field `user`"),
        (RIGHT.replace('"id"', '"none"'), ":5: key: there is no file "),
        (RIGHT.replace("ssh-ed25519", "10.0.0.5"), ":6: host_key: a public key is wanted, `TYPE BASE64`"),
        (RIGHT.replace('"10.0.0.5"', '"db"'), ":3: host: 'db' is no address: say with `ip` which one"),
        (RIGHT + 'ip = "db"\n', ":7: ip: 'db' is no address"),
        (RIGHT + RIGHT + "port = 23\n", ":9: host: 10.0.0.5 is the address of another host's nodes already"),
        (RIGHT + RIGHT + 'ip = "10.0.0.6"\n', ":9: host: 10.0.0.5:22 stands here twice"),
    ],
)
def test_wrong_file_is_refused_with_line_and_key(path: Path, text: str, says: str) -> None:
    """One sentence names the file, the line, the key and what is allowed."""
    path.write_text(text)
    with pytest.raises(HostsError) as refused:
        read_hosts(path)
    assert f"{path}{says}" in str(refused.value)


def test_file_that_is_not_there_is_named(path: Path) -> None:
    """So is the file itself."""
    with pytest.raises(HostsError, match=r"hosts.toml: cannot be read"):
        read_hosts(path)


def test_example_of_the_pages_is_right(path: Path) -> None:
    """The file that the operations page shows is taken as it stands, once the key lies where it says."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(\[\[hosts\]\].*?)```", page, flags=re.DOTALL)
    (path.parent / "keys").mkdir()
    (path.parent / "keys" / "watchkeep").write_text("")
    path.write_text(shown)

    first, second = read_hosts(path)

    assert (first.name, first.node_ip, first.python) == ("192.0.2.11:22", "192.0.2.11", "~/venv/bin/python")
    assert (second.name, second.node_ip, second.nodes_max) == ("gate.example.org:2222", "192.0.2.12", 2)
    for host in (first, second):
        asyncssh.import_public_key(host.host_key)


def test_keys_of_the_pages_are_all_there_are() -> None:
    """The table of the operations page has every key of a host, and no other."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("## Nodes on other machines")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)) == set(
        HostConfig.__struct_fields__
    )


@pytest.mark.parametrize(
    ("ssh", "says"),
    [
        (None, "pool home: the provider ssh needs a file of hosts, `ssh.hosts`"),
        (SshConfig("none.toml"), "none.toml: cannot be read"),
    ],
)
def test_provisioner_does_not_start_without_its_hosts(
    tmp_path: Path, ssh: SshConfig | None, says: str
) -> None:
    """A pool of the provider ssh ends with one sentence if its hosts are missing or wrong."""
    config = PoolConfig("127.0.0.1:9", str(tmp_path), "home", provider="ssh", ssh=ssh)
    with pytest.raises(SystemExit) as ended:
        create_provider(config, PlainSpawner())
    assert says in str(ended.value)
