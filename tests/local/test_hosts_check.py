"""`doctor --hosts`: whether the machines of a file can take nodes."""

from __future__ import annotations

from pathlib import Path

from streams.local.checks import check_hosts
from tests.agents.sshd import SshServer


def test_hosts_that_will_do_and_will_not_are_told_apart(ssh_server: SshServer, tmp_path: Path) -> None:
    """Each host has a line; one that lacks its Python says so in its own words."""
    file = tmp_path / "hosts.toml"
    unfit = {"port": ssh_server.port, "ip": "127.0.0.2", "host": "localhost", "python": "no-such-python"}
    file.write_text(ssh_server.table(tmp_path / "home") + ssh_server.table(tmp_path / "none", **unfit))

    good, bad = check_hosts(str(file))

    where = f"127.0.0.1:{ssh_server.port}"
    assert good == ("hosts", "ok", f"{where}: takes 10 nodes as {ssh_server.user} in {tmp_path / 'home'}")
    assert bad.state == "unhealthy"
    assert bad.detail.startswith(f"localhost:{ssh_server.port}: ")
    assert "no-such-python" in bad.detail


def test_wrong_hosts_file_is_one_finding(tmp_path: Path) -> None:
    """What is wrong with the file is said as the provisioner would."""
    file = tmp_path / "hosts.toml"
    file.write_text("hosts = 1\n")

    assert check_hosts(str(file)) == [
        ("hosts", "unhealthy", f"{file}:1: hosts: Expected `array`, got `int`"),
    ]
