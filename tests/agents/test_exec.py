"""Commands beside an app: who may, what they see, and that nothing stays. Client, endpoint and driver are real."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from agents import procfs
from agents.endpoint import Answers, Endpoint
from agents.exec_door import COMMANDS_MAX, ExecDoor
from agents.execution import Execution
from agents.process_driver import ProcessDriver
from sdk.contract import frames
from sdk.contract.frames import Start, Terminal
from sdk.contract.orders import AppOrder
from streams.commands import CommandError
from streams.commands.executing import execute
from tests.agents.limited import limits_of
from tests.agents.waiting import until

APP = "application-a"
TOKEN = "open-sesame"  # noqa: S105 - of this test
SLEEP = ["sleep", "600"]


class Node:
    """An endpoint in front of a driver that runs one app."""

    def __init__(self, folder: Path) -> None:
        self.driver = ProcessDriver(folder, node="node-x_1", agent_url="http://x:1", limits=limits_of(folder))
        self.exits: list[tuple[object, ...]] = []
        self.driver.on_exit = lambda *exit_: self.exits.append(exit_)
        self.token = folder / "exec-token"
        self.token.write_text(f"{TOKEN}\n")
        self.token.chmod(0o600)
        self.begun: list[Execution] = []
        self.port = 0
        self.endpoint: Endpoint

    async def begin(self, app: str, command: list[str], terminal: Terminal | None) -> Execution:
        """What the node does for a client."""
        from agents.driver import StartError

        found = await self.driver.execute(app, 7, command, terminal)
        if found is None:
            raise StartError(f"{app} does not run here")
        self.begun.append(found)
        return found

    def run(self, *command: str, token: str = TOKEN, timeout_ms: int = 0) -> Awaitable[int]:
        """The command as `apps exec` runs it; its exit code."""
        return execute("127.0.0.1", self.port, token, Start(APP, list(command), timeout_ms))

    def beside(self) -> list[int]:
        """Processes of the app apart from its own."""
        marks = {"WATCHKEEP_APP_ID": APP, "WATCHKEEP_NODE_ID": "node-x_1"}
        own = {copy.copy.pid for copy in self.driver._live.values()}
        return [pid for pid in procfs.select(lambda it: procfs.has_marks(it.pid, marks)) if pid not in own]


def zombies() -> set[int]:
    """Our children that have ended and that nobody has reaped."""
    return {it.pid for it in procfs.list_processes() if it.is_dead and it.parent == os.getpid()}


Act = Callable[[Node], Awaitable[None]]


def play(folder: Path, act: Act, **order: object) -> None:
    """Run `act` with a node whose app sleeps; nothing of it is left."""

    async def run() -> None:
        # Other tests may have left some.
        before = zombies()
        node = Node(folder)
        await node.driver.start(AppOrder(APP, 7, SLEEP, {"MINE": "1"}, **order))  # type: ignore[arg-type]
        door = ExecDoor(node.token, node.begin)
        endpoint = Endpoint(Answers(lambda *_: True, dict, list, node.driver.log_tail, door))
        node.endpoint = endpoint
        node.port = await endpoint.listen("127.0.0.1", 0)
        try:
            await act(node)
        finally:
            await endpoint.close()
            await node.driver.kill(APP, 7)
            await until(lambda: node.exits and not node.beside() and not zombies() - before)

    asyncio.run(run())


@pytest.fixture
def no_input(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing comes through our standard input."""
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield


@pytest.mark.usefixtures("no_input")
def test_a_command_has_the_apps_environment_and_directory(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It sees what the app sees; both outputs and the exit code come back."""

    async def act(node: Node) -> None:
        show = "import os, sys; print(os.environ['MINE'], os.listdir()); print('oh', file=sys.stderr); sys.exit(3)"
        assert await node.run("python3", "-c", show) == 3

    play(tmp_path, act, files={"pump.ini": "x"})
    assert capfd.readouterr() == ("1 ['pump.ini']\n", "oh\n")


def test_input_is_passed_on_in_full(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than any buffer on the way holds, byte for byte."""
    content = os.urandom(3 << 20)
    (tmp_path / "input").write_bytes(content)

    async def act(node: Node) -> None:
        count = "import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
        with (tmp_path / "input").open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            assert await node.run("python3", "-c", count) == 0

    play(tmp_path, act)
    import hashlib

    assert capfd.readouterr().out == f"{hashlib.sha256(content).hexdigest()}\n"


@pytest.mark.usefixtures("no_input")
def test_much_output_arrives_in_full(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """What a command wrote before it ended is not cut off by its end."""

    async def act(node: Node) -> None:
        assert await node.run("python3", "-c", "import sys; sys.stdout.write('x' * (3 << 20))") == 0

    play(tmp_path, act)
    assert len(capfdbinary.readouterr().out) == 3 << 20


@pytest.mark.usefixtures("no_input")
def test_a_background_child_does_not_hold_the_client(tmp_path: Path) -> None:
    """A child that keeps the outputs open is left behind, and goes when the app does."""

    async def act(node: Node) -> None:
        leave = "import subprocess; subprocess.Popen(['sleep', '600'])"
        async with asyncio.timeout(20):
            assert await node.run("python3", "-c", leave) == 0
        assert len(node.beside()) == 1

    play(tmp_path, act)


@pytest.mark.usefixtures("no_input")
def test_too_long_is_killed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """After its time the command and what it started are dead, and the exit code is 124."""

    async def act(node: Node) -> None:
        assert await node.run("sh", "-c", "sleep 600 & sleep 600", timeout_ms=300) == 124
        await until(lambda: not node.beside())

    play(tmp_path, act)
    assert "took longer than 0.3 s" in capfd.readouterr().err


@pytest.mark.usefixtures("no_input")
def test_ctrl_c_reaches_the_command(tmp_path: Path) -> None:
    """The first one is handed on; what the command makes of it is its own matter."""

    async def act(node: Node) -> None:
        talk = (
            "import signal, sys\nsignal.signal(2, lambda *_: sys.exit(42))\nopen('up', 'w')\nsignal.pause()"
        )
        running = asyncio.ensure_future(node.run("python3", "-c", talk))
        await until((tmp_path / "work" / APP / "up").exists)
        os.kill(os.getpid(), signal.SIGINT)
        assert await running == 42
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    play(tmp_path, act, files={"x": ""})


@pytest.mark.usefixtures("no_input")
def test_a_client_that_goes_takes_its_command_with_it(tmp_path: Path) -> None:
    """Also with a command that reads nothing and writes nothing."""

    async def act(node: Node) -> None:
        running = asyncio.ensure_future(node.run(*SLEEP))
        await until(node.beside)
        running.cancel()
        await until(lambda: not node.beside())

    play(tmp_path, act)


@pytest.mark.usefixtures("no_input")
def test_a_command_ends_with_its_app(tmp_path: Path) -> None:
    """The copy's end sweeps up whatever ran beside it."""

    async def act(node: Node) -> None:
        running = asyncio.ensure_future(node.run(*SLEEP))
        await until(node.beside)
        await node.driver.kill(APP, 7)
        assert await running == 128 + signal.SIGKILL

    play(tmp_path, act)


@pytest.mark.usefixtures("no_input")
def test_who_does_not_know_the_token_may_not(tmp_path: Path) -> None:
    """A wrong token, an open or a missing file: one sentence, and nothing was run."""

    async def act(node: Node) -> None:
        with pytest.raises(CommandError, match="the token is not this node's"):
            await node.run("true", token="open")  # noqa: S106 - a wrong one
        node.token.chmod(0o644)
        with pytest.raises(CommandError, match="is open to others"):
            await node.run("true")
        node.token.unlink()
        with pytest.raises(CommandError, match="is missing on this machine"):
            await node.run("true")
        assert node.begun == []

    play(tmp_path, act)


def test_no_token_means_nobody() -> None:
    """A node that was given none runs no commands, whatever is said."""
    door = ExecDoor(None, partial(_never))
    assert door.refusal("Bearer ")[0] == 403


async def _never(_app: str, _command: list[str]) -> Execution:
    raise AssertionError


@pytest.mark.usefixtures("no_input")
def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    """A missing program, and an app that is not here."""

    async def act(node: Node) -> None:
        with pytest.raises(CommandError, match="cannot start 'no-such-program'") as caught:
            await node.run("no-such-program")
        assert caught.value.exit_code == 127
        with pytest.raises(CommandError, match="application-b does not run here"):
            await execute("127.0.0.1", node.port, TOKEN, Start("application-b", ["true"]))

    play(tmp_path, act)


async def _connect(node: Node) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that was let in and has said nothing yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    head = f"POST /exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: Upgrade\r\n"
    writer.write(f"{head}Upgrade: {frames.PROTOCOL}\r\n\r\n".encode())
    if b" 101 " not in await reader.readuntil(b"\r\n\r\n"):
        writer.close()
        raise ConnectionRefusedError
    return reader, writer


@pytest.mark.parametrize(
    "said",
    [
        frames.encode_frame(frames.STDIN, b"x"),
        frames.encode_frame(frames.START, b"{}"),
        frames.encode_frame(frames.START, b'{"app": "application-a", "command": []}'),
        frames.START + b"\xff\xff\xff\xff",
    ],
)
def test_garbage_costs_one_connection(tmp_path: Path, said: bytes) -> None:
    """Who does not speak the protocol is told so, or just loses the connection."""

    async def act(node: Node) -> None:
        reader, writer = await _connect(node)
        writer.write(said)
        async with asyncio.timeout(10):
            answer = await reader.read()
        assert answer[:1] in (b"", frames.FAILED)
        writer.close()
        assert node.begun == []

    play(tmp_path, act)


def test_more_input_than_was_allowed_ends_the_command(tmp_path: Path) -> None:
    """A client that does not wait for the agent's word cannot fill its memory."""

    async def act(node: Node) -> None:
        reader, writer = await _connect(node)
        writer.write(frames.encode_frame(frames.START, msgspec.json.encode(Start(APP, SLEEP))))
        for _ in range(2 * frames.STDIN_WINDOW // frames.FRAME_BYTES_MAX + 2):
            writer.write(frames.encode_frame(frames.STDIN, b"x" * frames.FRAME_BYTES_MAX))
        # A connection that is closed before all was read from it is reset, if the rest is still on its way.
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                while await reader.read(65_536):
                    pass
        writer.close()
        await until(lambda: not node.beside())

    play(tmp_path, act)


def test_so_many_at_once(tmp_path: Path) -> None:
    """One more than may run is refused; when one has gone there is room again."""

    async def act(node: Node) -> None:
        clients = [await _connect(node) for _ in range(COMMANDS_MAX)]
        with pytest.raises(CommandError, match="16 commands run here already"):
            await node.run("true")
        clients[0][1].close()
        reader, writer = await asyncio.wait_for(_retry(node), 10)
        for _, each in [*clients[1:], (reader, writer)]:
            each.close()

    play(tmp_path, act)


async def _retry(node: Node) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await _connect(node)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
