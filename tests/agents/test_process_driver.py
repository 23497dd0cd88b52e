"""What is particular to apps as processes."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agents import procfs
from agents.process_driver import ProcessDriver
from agents.spawner import ROOT
from sdk.contract.orders import AppOrder
from tests.agents.limited import limits_of
from tests.agents.waiting import until

APPS = "tests/agents/apps"
NODE = "node-127.0.0.1_1"


def make(directory: Path, exits: list[tuple[object, ...]]) -> ProcessDriver:
    """A driver that tells its exits to a list."""
    driver = ProcessDriver(directory, node=NODE, agent_url="http://127.0.0.1:1", limits=limits_of(directory))
    driver.on_exit = lambda *exit_: exits.append(exit_)
    return driver


def test_app_finds_its_platform(tmp_path: Path) -> None:
    """An app has Kafka's address and the prefix from its agent, unless its orders name others."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        platform = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "WATCHKEEP_PREFIX": "mine"}
        driver = ProcessDriver(
            tmp_path,
            node=NODE,
            agent_url="http://127.0.0.1:1",
            limits=limits_of(tmp_path),
            platform=platform,
        )
        driver.on_exit = lambda *exit_: exits.append(exit_)
        show = "import os; print(os.environ['KAFKA_BOOTSTRAP_SERVERS'], os.environ['WATCHKEEP_PREFIX'])"
        wish = AppOrder("application-a", 7, ["python3", "-c", show], {"WATCHKEEP_PREFIX": "other"})
        await driver.start(wish)
        await until(lambda: exits)

    asyncio.run(act())

    assert (tmp_path / "logs" / "application-a.log").read_text() == "127.0.0.1:1 other\n"


def test_app_knows_who_it_is(tmp_path: Path) -> None:
    """An app finds its id, generation, node, agent and the SDK in its environment, orders cannot fake them."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        driver = make(tmp_path, exits)
        show = "import os, sdk; print(sorted((k, v) for k, v in os.environ.items() if k.startswith('WATCHKEEP_')))"
        wish = AppOrder(
            "application-a", 7, ["python3", "-c", show], {"WATCHKEEP_GENERATION": "9", "MINE": "1"}
        )
        await driver.start(wish)
        await until(lambda: exits)
        said = (await driver.log_tail("application-a", 10)).decode()
        assert exits[0][2] == 0, said
        assert "('WATCHKEEP_AGENT', 'http://127.0.0.1:1')" in said
        assert "('WATCHKEEP_APP_ID', 'application-a'), ('WATCHKEEP_GENERATION', '7')" in said
        assert f"('WATCHKEEP_NODE_ID', '{NODE}')" in said

    asyncio.run(act())


def test_python_means_the_platforms_interpreter(tmp_path: Path) -> None:
    """The first word `python3` is the interpreter that runs the platform."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        driver = make(tmp_path, exits)
        await driver.start(AppOrder("application-a", 1, ["python3", "-c", "import sys; print(sys.prefix)"]))
        await until(lambda: exits)
        assert (await driver.log_tail("application-a", 1)).decode().strip() == sys.prefix

    asyncio.run(act())


def test_app_with_files_starts_where_they_are(tmp_path: Path) -> None:
    """Each copy finds its files, and nothing that an earlier one left, in a directory of its own."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        driver = make(tmp_path, exits)
        show = "print(open('conf/a.ini').read(), __import__('os').listdir()); open('left', 'w').close()"
        for generation, content in ((1, "first"), (2, "second")):
            command = ["python3", "-c", show]
            await driver.start(AppOrder("application-a", generation, command, files={"conf/a.ini": content}))
            await until(lambda done=generation: len(exits) == done)  # type: ignore[misc]  # bound at once
        assert (await driver.log_tail("application-a", 2)).decode().splitlines() == [
            "first ['conf']",
            "second ['conf']",
        ]
        await driver.forget("application-a", 2)
        assert not (tmp_path / "work" / "application-a").exists()

    asyncio.run(act())


def test_kill_takes_the_family(tmp_path: Path) -> None:
    """Children die with a killed app, also one in a session of its own."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        driver = make(tmp_path, exits)
        pids_file = tmp_path / "pids"
        wish = AppOrder(
            "application-a", 1, ["python3", f"{APPS}/has_children.py"], {"PIDS_FILE": str(pids_file)}
        )
        await driver.start(wish)
        await until(lambda: pids_file.exists() and " " in pids_file.read_text())
        pids = [int(pid) for pid in pids_file.read_text().split()]
        await driver.kill("application-a", 1)
        await until(lambda: exits)
        assert not any(procfs.is_alive(pid, procfs.start_of(pid)) for pid in pids)

    asyncio.run(act())


def test_strays_are_swept_before_the_exit_is_told(tmp_path: Path) -> None:
    """What an app leaves behind when it ends by itself is gone when its exit is told."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        driver = make(tmp_path, exits)
        leave = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
        await driver.start(AppOrder("application-a", 1, ["python3", "-c", leave]))
        await until(lambda: exits)
        pid = int(await driver.log_tail("application-a", 1))
        assert not procfs.is_alive(pid, procfs.start_of(pid))

    asyncio.run(act())


def test_stopped_app_can_be_stopped(tmp_path: Path) -> None:
    """An app under SIGSTOP takes its SIGTERM."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        driver = make(tmp_path, exits)
        os.kill(await driver.start(AppOrder("application-a", 1, ["sleep", "600"])), signal.SIGSTOP)
        await driver.stop("application-a", 1)
        await until(lambda: exits)
        assert exits[0][2] == -signal.SIGTERM

    asyncio.run(act())


def test_app_shares_the_agents_process_group(tmp_path: Path) -> None:
    """Whoever destroys the agent's group destroys its apps."""

    async def act() -> None:
        exits: list[tuple[object, ...]] = []
        driver = make(tmp_path, exits)
        pid = await driver.start(AppOrder("application-a", 1, ["sleep", "600"]))
        assert os.getpgid(pid) == os.getpgid(0)
        await driver.kill("application-a", 1)
        await until(lambda: exits)

    asyncio.run(act())


@pytest.mark.parametrize("name", ["../../etc/x", "..", "application-a/b"])
def test_app_names_do_not_leave_the_directory(tmp_path: Path, name: str) -> None:
    """An id that would be a path elsewhere is refused."""

    async def act() -> None:
        driver = make(tmp_path, [])
        with pytest.raises(RuntimeError, match="no name"):
            await driver.start(AppOrder(name, 1, ["true"]))

    asyncio.run(act())


def test_zombie_counts_as_dead() -> None:
    """A process that ended and was not reaped is not alive."""
    process = subprocess.Popen(["true"])
    start = procfs.start_of(process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert procfs.look_up(process.pid) is not None
    assert not procfs.is_alive(process.pid, start)
    process.wait()


def test_another_process_with_the_pid_is_nobody_of_ours() -> None:
    """Pid and start time together are the identity."""
    own = procfs.look_up(os.getpid())
    assert own is not None
    assert procfs.is_alive(own.pid, own.start)
    assert not procfs.is_alive(own.pid, own.start + 1)


def test_root_holds_the_sdk() -> None:
    """Apps start where `sdk` and `examples` lie."""
    assert (ROOT / "sdk" / "heartbeat.py").exists()


@pytest.mark.parametrize(
    ("on_isolation", "outlives", "is_left"),
    [("stop", False, False), ("stop", True, True), ("keep", False, True)],
)
def test_app_that_must_not_run_unheard_ends_with_its_agent(
    tmp_path: Path, on_isolation: str, *, outlives: bool, is_left: bool
) -> None:
    """The kernel ends it when its agent is killed and nobody adopts it; every other app runs on."""
    agent = f"""
import asyncio, time
from pathlib import Path
from agents.process_driver import ProcessDriver
from sdk.contract.orders import AppOrder
from tests.agents.limited import limits_of
folder = Path({str(tmp_path)!r})
driver = ProcessDriver(folder, node={NODE!r}, agent_url="", limits=limits_of(folder), outlives_agent={outlives})
async def act():
    print(await driver.start(AppOrder("application-a", 1, ["sleep", "600"], on_isolation={on_isolation!r})), flush=True)
    time.sleep(600)
asyncio.run(act())
"""
    with subprocess.Popen(
        [sys.executable, "-c", agent], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        start = procfs.start_of(pid)
        process.kill()
    try:
        if is_left:
            assert procfs.is_alive(pid, start)
        else:
            asyncio.run(until(lambda: not procfs.is_alive(pid, start)))
    finally:
        if procfs.is_alive(pid, start):
            os.kill(pid, signal.SIGKILL)
