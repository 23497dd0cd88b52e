"""Beside an app in a container: commands inside it, and pages that its agent asks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents import procfs
from agents.docker_driver import DockerDriver
from agents.docker_execution import DockerExecution
from agents.http_page import ask_page
from sdk.contract.frames import STDERR, STDOUT, Terminal
from tests.agents.waiting import until
from tests.docker.daemon import Daemon
from tests.docker.test_containers import APP, Agent, order

SLEEP = "import time; time.sleep(500)"


@pytest.fixture
def agent(docker_daemon: Daemon, tmp_path: Path) -> Iterator[Agent]:
    """An agent on the real daemon."""
    agent = Agent(docker_daemon, tmp_path)
    yield agent
    agent.close()


class Output(dict[bytes, bytes]):
    """What a command wrote, by stream."""

    async def take(self, kind: bytes, content: bytes) -> None:
        """Keep it."""
        self[kind] = self.get(kind, b"") + content


async def run(driver: DockerDriver, *command: str) -> DockerExecution:
    """A command inside the app's container."""
    found = await driver.execute(APP, 7, list(command))
    assert found is not None
    return found


def test_command_runs_inside_with_input_outputs_and_exit_code(agent: Agent) -> None:
    """Its environment is the app's, every byte of input arrives, both outputs come apart, and its code is told."""

    async def act(driver: DockerDriver) -> None:
        await driver.start(order(SLEEP))
        code = (
            "import os, sys\n"
            "given = sys.stdin.buffer.read()\n"
            "print(os.environ['WATCHKEEP_APP_ID'], len(given), 'x' * 200_000)\n"
            "print('oh', file=sys.stderr); sys.exit(9)"
        )
        output = Output()
        execution = await run(driver, "python3", "-c", code)
        pumping = asyncio.ensure_future(execution.pump(output.take))
        for _ in range(30):
            await execution.write(os.urandom(32 << 10))
        await execution.end_input()
        assert await pumping == 9
        execution.kill()
        assert output[STDOUT] == f"{APP} {30 * (32 << 10)} {'x' * 200_000}\n".encode()
        assert output[STDERR] == b"oh\n"

        quick = Output()
        for _ in range(10):
            execution = await run(driver, "python3", "-c", "print('hi')")
            assert await execution.pump(quick.take) == 0
            execution.kill()
        assert quick[STDOUT] == b"hi\n" * 10
        assert await driver.execute(APP, 6, ["true"]) is None
        await driver.kill(APP, 7)
        await until(lambda: agent.exits)

    agent.play(act)


def test_files_of_an_order_are_where_the_app_starts(agent: Agent) -> None:
    """Read-only, for the app and for commands beside it; the next copy finds its own, and in the end none is left."""

    async def act(driver: DockerDriver) -> None:
        for generation, content in ((7, "first"), (8, "second")):
            code = "print(open('conf/a.ini').read(), flush=True); open('conf/b.ini', 'w')"
            await driver.start(replace(order(code, generation=generation), files={"conf/a.ini": content}))
            await until(lambda done=generation - 6: len(agent.exits) == done)  # type: ignore[misc]  # bound at once
            said = await driver.log_tail(APP, 50)
            assert f"{content}\n".encode() in said
            assert b"Read-only file system" in said
        await driver.forget(APP, 8)
        assert not (agent.folder / "work" / APP).exists()

    agent.play(act)


def test_killed_command_is_gone_and_the_app_stays(agent: Agent) -> None:
    """With what it started; the app itself is not touched."""

    async def act(driver: DockerDriver) -> None:
        pid = await driver.start(order(SLEEP))
        output = Output()
        code = (
            "import subprocess, sys, time\n"
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(601)'])\n"
            "print('up', flush=True); time.sleep(602)"
        )
        execution = await run(driver, "python3", "-c", code)
        pumping = asyncio.ensure_future(execution.pump(output.take))
        await until(lambda: output)
        # The second may not have become the program yet that it runs.
        await until(lambda: sum(_sleeps(it.pid) for it in procfs.list_processes()) == 2)
        before = [it for it in procfs.list_processes() if _sleeps(it.pid)]
        execution.kill()
        await until(lambda: not any(procfs.is_alive(it.pid, it.start) for it in before))
        pumping.cancel()
        assert procfs.is_alive(pid, procfs.start_of(pid))
        await driver.kill(APP, 7)
        await until(lambda: agent.exits)

    agent.play(act)


def _sleeps(pid: int) -> bool:
    try:
        return b"time.sleep(60" in Path(f"/proc/{pid}/cmdline").read_bytes() and pid != os.getpid()
    except OSError:
        return False


def test_command_has_a_terminal_inside(agent: Agent) -> None:
    """Its size and kind are the client's, a new size arrives, Ctrl-C interrupts and Ctrl-D ends its input."""
    show = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGWINCH, lambda *_: print(tuple(os.get_terminal_size()), flush=True))\n"
        "signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))\n"
        "print(os.environ['TERM'], os.isatty(0), flush=True)\n"
        "sys.exit(len(sys.stdin.read()))"
    )

    async def act(driver: DockerDriver) -> None:
        await driver.start(order(SLEEP))
        found = await driver.execute(APP, 7, ["python3", "-c", show], Terminal(30, 100, "vt100"))
        assert found is not None
        output = Output()
        pumping = asyncio.ensure_future(found.pump(output.take))
        await until(lambda: b"vt100 True" in output.get(STDOUT, b""))
        await found.resize(41, 132)
        await until(lambda: b"(132, 41)" in output[STDOUT])
        await found.write(b"\x03")
        await until(lambda: b"interrupted" in output[STDOUT])
        await found.write(b"abc\r")
        await found.end_input()
        assert await pumping == 4
        found.kill()
        await driver.kill(APP, 7)
        await until(lambda: agent.exits)

    agent.play(act)


def test_program_that_is_missing_is_told(agent: Agent) -> None:
    """By the exit code that docker gives for it."""

    async def act(driver: DockerDriver) -> None:
        await driver.start(order(SLEEP))
        execution = await run(driver, "no-such-program")
        assert await execution.pump(Output().take) in (126, 127)
        execution.kill()
        await driver.kill(APP, 7)
        await until(lambda: agent.exits)

    agent.play(act)


@pytest.mark.parametrize("network", ["host", "bridge"])
def test_page_of_a_container_is_asked_at_its_address(agent: Agent, network: str) -> None:
    """In the bridge the container has its own, in the machine's network it has the node's."""

    async def act(driver: DockerDriver) -> None:
        serve = (
            "import http.server as h; h.HTTPServer(('', 18_123), h.SimpleHTTPRequestHandler).serve_forever()"
        )
        await driver.start(order(serve, network=network))
        ip = driver.address_of(APP, 7)
        assert bool(ip) == (network == "bridge")
        assert driver.address_of(APP, 6) == ""
        async with asyncio.timeout(30):
            while await ask_page(ip or "127.0.0.1", 18_123, "/", 3.0):
                await asyncio.sleep(0.05)
        await driver.kill(APP, 7)
        await until(lambda: agent.exits)

    agent.play(act)
