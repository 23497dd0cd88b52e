"""What a real OpenSSH server adds: keys that are checked, doors that are closed, connections that are cut or hang."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import ssh_connection
from agents.ssh_connection import connect
from agents.ssh_hosts import read_hosts
from agents.ssh_provider import SshProvider
from agents.ssh_wire import HostAwayError
from tests.agents.ssh_play import Stage, Told, alive
from tests.agents.sshd import SshServer
from tests.agents.waiting import until


def hosts_file(server: SshServer, folder: Path, **more: object) -> Path:
    """A hosts file that names the server."""
    path = folder / "hosts.toml"
    path.write_text(server.table(folder / "home", **more))
    return path


@pytest.fixture
def stage(ssh_server: SshServer, tmp_path: Path) -> Iterator[Stage]:
    """A stage whose host is this machine, by way of the server."""
    stage = Stage(tmp_path, read_hosts(hosts_file(ssh_server, tmp_path)), connect)
    yield stage
    stage.close()


def refusal(path: Path) -> str:
    """Why the first host of a file cannot be connected to."""

    async def act() -> str:
        try:
            wire = await connect(read_hosts(path)[0], "true")
        except HostAwayError as error:
            return str(error)
        await wire.close()
        return ""

    return asyncio.run(act())


def test_command_runs_with_the_right_keys(ssh_server: SshServer, tmp_path: Path) -> None:
    """The example that the refusals are compared with: nothing is refused."""
    assert refusal(hosts_file(ssh_server, tmp_path)) == ""


def test_other_host_key_is_not_talked_to(
    ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with another key is refused, though the person's own list of known hosts has it."""
    home = tmp_path / "person"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "known_hosts").write_text(
        f"[{ssh_server.address}]:{ssh_server.port} {ssh_server.host_key}\n"
    )
    monkeypatch.setenv("HOME", str(home))
    other = " ".join((ssh_server.folder / "other.pub").read_text().split()[:2])

    path = hosts_file(ssh_server, tmp_path, host_key=other)

    assert refusal(path) == "it shows another host key than the hosts file pins: not talked to"


def test_key_that_is_not_known_there_is_refused(
    ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of the file is the only one that is tried, though the person has one that would do."""
    home = tmp_path / "person"
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(ssh_server.folder / "client", home / ".ssh" / "id_ed25519")
    monkeypatch.setenv("HOME", str(home))
    key = ssh_server.folder / "other"

    path = hosts_file(ssh_server, tmp_path, key=str(key))

    assert refusal(path) == f"it does not let in user {ssh_server.user} with the key {key}"


def test_file_that_is_no_key_is_named(ssh_server: SshServer, tmp_path: Path) -> None:
    """A key file with anything else in it is one sentence."""
    (tmp_path / "key").write_text("nothing")
    assert refusal(hosts_file(ssh_server, tmp_path, key=str(tmp_path / "key"))).startswith(
        "a key cannot be used: "
    )


def test_closed_port_is_named(ssh_server: SshServer, tmp_path: Path) -> None:
    """Where nobody listens there is no connection."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        path = hosts_file(ssh_server, tmp_path, port=free.getsockname()[1])
        assert refusal(path).startswith("no connection: ")


def test_server_that_says_nothing_is_given_up(
    ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that takes connections and is silent costs a bounded time."""
    monkeypatch.setattr(ssh_connection, "LOGIN_WITHIN_S", 0.3)
    monkeypatch.setattr(ssh_connection, "CONNECT_WITHIN_S", 0.3)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        said = refusal(hosts_file(ssh_server, tmp_path, port=mute.getsockname()[1]))
    assert said == "it does not answer within 0.6 s"


def test_node_outlives_the_server_that_started_it(tmp_path: Path, ssh_server: SshServer) -> None:
    """With sshd and its sessions killed the node lives on; when sshd is back it is found and can be destroyed."""
    server = SshServer(tmp_path / "sshd").start()
    stage = Stage(tmp_path, read_hosts(hosts_file(server, tmp_path)), connect)
    name = stage.hosts[0].name

    async def act(provider: SshProvider, told: Told) -> None:
        node, pid = await provider.create(80, stage.wish())
        await until(lambda: told.answers)
        server.stop()
        await until(lambda: not provider._hosts[name].is_up)
        await until(lambda: not stage.caretakers())
        assert pid in alive(node)
        server.start()
        await until(lambda: provider._hosts[name].is_up)
        assert await provider.create(80, stage.wish()) == (node, pid)
        await provider.destroy(80)
        await until(lambda: told.exits)
        assert alive(node) == []
        assert len(told.exits) == 1

    try:
        stage.play(act)
    finally:
        stage.close()
        server.stop()


def test_connection_that_hangs_is_noticed_and_replaced(stage: Stage, ssh_server: SshServer) -> None:
    """A session that is stopped, as a cut cable looks, is given up; the next caretaker ends the one behind it."""
    name = stage.hosts[0].name

    async def act(provider: SshProvider, told: Told) -> None:
        node, pid = await provider.create(80, stage.wish())
        await until(lambda: told.answers)
        first = stage.caretakers()
        stopped = ssh_server.sessions()
        for session in stopped:
            os.kill(session, signal.SIGSTOP)
        try:
            await until(lambda: not provider._hosts[name].is_up)
            await until(lambda: provider._hosts[name].is_up)
        finally:
            for session in stopped:
                os.kill(session, signal.SIGCONT)
        assert len(stage.caretakers()) == 1
        assert stage.caretakers() != first
        assert await provider.create(80, stage.wish()) == (node, pid)
        assert told.exits == []

    stage.play(act)
