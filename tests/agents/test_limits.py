"""Limits of apps that are processes: with the control groups of this machine, with rlimits, and in made-up trees."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agents import cgroups, procfs
from agents.cgroups import Cgroups, Group, find_cgroups
from agents.disk import home_of
from agents.limits import Limits
from agents.process_driver import ProcessDriver
from sdk.contract.orders import AppOrder
from tests.agents.waiting import until

APP = "application-a"
#: Takes ever more memory, and touches it.
HOG = "kept = []\nwhile True: kept.append(bytearray(4 << 20))"
#: The same in a child, whose end it waits for.
HOG_BELOW = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOG!r}]); sys.exit(3)"
Act = Callable[[ProcessDriver, list[tuple[object, ...]]], Awaitable[None]]


@pytest.fixture
def groups() -> Cgroups:
    """The control groups of this machine."""
    found = find_cgroups()
    if found is None:
        pytest.skip("this machine lets us make no control groups")
    return found


def play(folder: Path, groups: Cgroups | None, act: Act) -> None:
    """Run `act` with a driver and its exits; what it leaves is killed."""

    async def run() -> None:
        driver = ProcessDriver(
            folder, node="node-x_1", agent_url="http://x:1", limits=Limits(home_of(folder), groups)
        )
        exits: list[tuple[object, ...]] = []
        driver.on_exit = lambda *exit_: exits.append(exit_)
        try:
            await act(driver, exits)
        finally:
            await driver.kill(APP, 7)
            await asyncio.sleep(0)

    asyncio.run(run())


def left_of(folder: Path, groups: Cgroups) -> list[str]:
    """Directories of groups that a node has left."""
    places = groups.group("x")
    return [str(it) for place in places for it in place.parent.glob(f"watchkeep-{home_of(folder)}-*")]


def test_who_takes_too_much_memory_is_killed_and_it_is_said(tmp_path: Path, groups: Cgroups) -> None:
    """The kernel kills it, the reason of its end says why, and its group is gone."""

    async def act(driver: ProcessDriver, exits: list[tuple[object, ...]]) -> None:
        await driver.start(AppOrder(APP, 7, ["python3", "-c", HOG], memory_limit_mib=48))
        await until(lambda: exits)
        assert exits == [(APP, 7, -9, "killed: it used more memory than its limit of 48 MiB")]
        assert left_of(tmp_path, groups) == []

    play(tmp_path, groups, act)


def test_a_child_that_takes_too_much_is_in_the_same_group(tmp_path: Path, groups: Cgroups) -> None:
    """The limit is that of the app with all below it; if the app survives its child, its own end says so too."""

    async def act(driver: ProcessDriver, exits: list[tuple[object, ...]]) -> None:
        await driver.start(AppOrder(APP, 7, ["python3", "-c", HOG_BELOW], memory_limit_mib=48))
        await until(lambda: exits)
        said = str(exits[0][3])
        assert "more memory than its limit of 48 MiB" in said
        # With version 2 all die together, with version 1 only who took it.
        assert said.startswith(
            "killed: " if groups.version == 2 else "exited with code 3; the kernel had killed"
        )

    play(tmp_path, groups, act)


def test_both_limits_reach_the_kernel_and_a_plain_kill_is_no_fault_of_memory(
    tmp_path: Path, groups: Cgroups
) -> None:
    """The group holds what was ordered and the process; who was killed otherwise is not called a hog."""

    async def act(driver: ProcessDriver, exits: list[tuple[object, ...]]) -> None:
        pid = await driver.start(
            AppOrder(APP, 7, ["sleep", "600"], memory_limit_mib=64, cpu_limit_percent=50)
        )
        group = groups.group(cgroups.group_name(home_of(tmp_path), APP, 7))
        assert cgroups.memory_limit_mib(group) == 64
        quota = "cpu.max" if groups.version == 2 else "cpu.cfs_quota_us"
        assert (group.cpu / quota).read_text().split()[0] == "50000"
        assert all((place / "cgroup.procs").read_text() == f"{pid}\n" for place in group.places)
        await driver.kill(APP, 7)
        await until(lambda: exits)
        assert exits[0][3] == "killed by signal 9"
        assert left_of(tmp_path, groups) == []

    play(tmp_path, groups, act)


def test_a_program_that_is_missing_leaves_no_group(tmp_path: Path, groups: Cgroups) -> None:
    """What could not be started has no group either."""

    async def act(driver: ProcessDriver, _exits: list[tuple[object, ...]]) -> None:
        with pytest.raises(RuntimeError, match="cannot start 'no-such-program'"):
            await driver.start(AppOrder(APP, 7, ["no-such-program"], memory_limit_mib=64))
        assert left_of(tmp_path, groups) == []

    play(tmp_path, groups, act)


def test_a_new_agent_keeps_the_groups_of_the_living_and_removes_the_rest(
    tmp_path: Path, groups: Cgroups
) -> None:
    """Groups outlive their agent with the apps in them; what belongs to nobody goes, also with a process in it."""

    async def act(driver: ProcessDriver, _exits: list[tuple[object, ...]]) -> None:
        pid = await driver.start(AppOrder(APP, 7, ["sleep", "600"], memory_limit_mib=64))
        stray = Limits(home_of(tmp_path), groups)
        with stray.begin(AppOrder("application-b", 3, ["x"], memory_limit_mib=64)):
            pass
        with Limits("0123456789ab", groups).begin(AppOrder(APP, 1, ["x"], memory_limit_mib=64)):
            pass
        try:
            again = ProcessDriver(tmp_path, node="node-x_1", agent_url="http://x:1", limits=stray)
            exits: list[tuple[object, ...]] = []
            again.on_exit = lambda *exit_: exits.append(exit_)
            assert [it.status for it in await again.adopt()] == ["alive"]
            assert {Path(it).name for it in left_of(tmp_path, groups)} == {
                cgroups.group_name(home_of(tmp_path), APP, 7)
            }
            assert groups.group(cgroups.group_name("0123456789ab", APP, 1)).memory.is_dir()
            await again.kill(APP, 7)
            await until(lambda: exits)
            assert not procfs.is_alive(pid, procfs.start_of(pid))
            assert left_of(tmp_path, groups) == []
        finally:
            cgroups.sweep("0123456789ab")

    play(tmp_path, groups, act)


def test_a_whole_node_that_is_gone_is_swept_with_what_is_in_its_groups(
    tmp_path: Path, groups: Cgroups
) -> None:
    """Whoever destroys a node knows its home, and needs no book."""

    async def act(driver: ProcessDriver, exits: list[tuple[object, ...]]) -> None:
        await driver.start(AppOrder(APP, 7, ["sleep", "600"], cpu_limit_percent=50))
        await until(lambda: cgroups.sweep(home_of(tmp_path)) == [])
        await until(lambda: exits)
        assert exits[0][2] == -9

    play(tmp_path, groups, act)


def test_without_groups_the_address_space_is_limited(tmp_path: Path) -> None:
    """Who wants more gets an error instead of memory, and its end names the limit; a good end does not."""

    async def act(driver: ProcessDriver, exits: list[tuple[object, ...]]) -> None:
        for number, program in enumerate((HOG, "pass"), 1):
            await driver.start(
                AppOrder(APP, number, ["python3", "-c", program], memory_limit_mib=300, cpu_limit_percent=50)
            )
            await until(lambda done=number: len(exits) == done)  # type: ignore[misc]  # bound at once
        assert exits == [
            (APP, 1, 1, "exited with code 1; its address space was limited to 300 MiB"),
            (APP, 2, 0, "exited with code 0"),
        ]
        assert b"MemoryError" in await driver.log_tail(APP, 5)

    play(tmp_path, None, act)


# --- made-up trees -------------------------------------------------------------------------------------


class Tree:
    """What a kernel with version 2 would show: our process in `a.slice/b.scope`, controllers everywhere."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.root = folder / "proc", folder / "cgroup"
        self.slice, self.scope = self.root / "a.slice", self.root / "a.slice" / "b.scope"
        self.scope.mkdir(parents=True)
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "cgroup").write_text("0::/a.slice/b.scope\n")
        (self.proc / "self" / "mountinfo").write_text(
            f"24 1 0:22 / /proc rw - proc proc rw\n25 1 0:23 / {self.root} rw,nosuid - cgroup2 cgroup2 rw\n"
        )
        for place in (self.root, self.slice, self.scope):
            (place / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (self.scope / "cgroup.subtree_control").write_text("memory cpu\n")

    def forbid(self, place: Path) -> None:
        """This group cannot hand out controllers: it has processes."""
        (place / "cgroup.subtree_control").unlink(missing_ok=True)
        (place / "cgroup.subtree_control").mkdir()

    def made(self) -> Path:
        """Where a group would be made; what is written into it stays to be looked at."""
        found = find_cgroups(self.proc)
        assert found is not None
        assert found.version == 2
        group = found.create("watchkeep-x", memory_mib=64, cpu_percent=150)
        assert (group.memory / "memory.max").read_text() == str(64 << 20)
        assert (group.memory / "memory.swap.max").read_text() == "0"
        assert (group.cpu / "cpu.max").read_text() == "150000 100000"
        return group.memory.parent


def test_version_2_makes_groups_in_its_own_where_it_may(tmp_path: Path) -> None:
    """A group that hands out controllers is used as it is."""
    tree = Tree(tmp_path)
    assert tree.made() == tree.scope


def test_version_2_climbs_to_where_it_may(tmp_path: Path) -> None:
    """Past groups that have processes, and no limit; there the controllers are handed out."""
    tree = Tree(tmp_path)
    tree.forbid(tree.scope)
    (tree.scope / "memory.max").write_text("max\n")
    (tree.scope / "cpu.max").write_text("max 100000\n")
    assert tree.made() == tree.slice
    assert (tree.slice / "cgroup.subtree_control").read_text() == "+memory +cpu"


@pytest.mark.parametrize(("file", "limit"), [("memory.max", "1000000"), ("cpu.max", "50000 100000")])
def test_version_2_does_not_leave_a_group_with_a_limit(tmp_path: Path, file: str, limit: str) -> None:
    """What the platform was allowed holds for its apps too, even if they then have no groups of their own."""
    tree = Tree(tmp_path)
    tree.forbid(tree.scope)
    (tree.scope / file).write_text(limit)
    assert find_cgroups(tree.proc) is None


def test_version_2_without_the_controllers_is_none(tmp_path: Path) -> None:
    """As where version 1 has them."""
    tree = Tree(tmp_path)
    (tree.scope / "cgroup.controllers").write_text("hugetlb\n")
    assert find_cgroups(tree.proc) is None


def test_version_1_uses_the_groups_that_we_are_in(tmp_path: Path) -> None:
    """Each controller has a tree of its own, and a container sees a part of one."""
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("4:memory:/docker/1/x\n3:cpu,cpuacct:/docker/1\n1:name=systemd:/\n")
    lines = [
        f"30 1 0:30 /docker/1 {tmp_path}/memory rw - cgroup cgroup rw,memory",
        f"31 1 0:31 /docker/1 {tmp_path}/cpu rw - cgroup cgroup rw,cpu,cpuacct",
    ]
    (proc / "self" / "mountinfo").write_text("\n".join(lines))
    (tmp_path / "memory" / "x").mkdir(parents=True)
    (tmp_path / "cpu").mkdir()

    found = find_cgroups(proc)

    assert found is not None
    assert found.version == 1
    assert found.group("y") == Group(tmp_path / "memory" / "x" / "y", tmp_path / "cpu" / "y")
    group = found.create("y", memory_mib=64, cpu_percent=50)
    assert (group.memory / "memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (group.cpu / "cpu.cfs_quota_us").read_text() == "50000"
