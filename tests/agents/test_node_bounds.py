"""Bounds of a whole node: what is offered, what a group bounds, what an rlimit does, which of them there are."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agents import cgroups
from agents.cgroups import Cgroups, explain_cgroups, find_cgroups
from agents.disk import home_of
from agents.limits import Limits
from agents.machine import Capacity
from agents.node_book import Entry, write_node_config
from agents.node_bounds import bound_node, offered
from agents.settings import NodeConfig, NodeProcess, PoolConfig
from sdk.contract.orders import AppOrder

#: A node in a process of its own: it bounds itself, and starts a child that takes memory, unless that is refused.
NODE = """
import subprocess, sys
from agents.cgroups import find_cgroups
from agents.node_bounds import bound_node
from agents.settings import NodeProcess
groups = find_cgroups() if sys.argv[2] == "groups" else None
print(bound_node(sys.argv[1], NodeProcess(memory_mib=256, cpu_percent=50), groups).words)
hog = "x = [bytearray(4 << 20) for _ in range(128)]"
print(subprocess.run([sys.executable, "-c", hog], stderr=subprocess.DEVNULL).returncode)
"""


def run_node(home: str, how: str) -> tuple[str, int]:
    """What such a node said of its bounds, and how its child of 512 MiB ended."""
    done = subprocess.run(
        [sys.executable, "-c", NODE, home, how], capture_output=True, text=True, check=True, timeout=60
    )
    words, code = done.stdout.splitlines()
    return words, int(code)


@pytest.fixture
def groups() -> Cgroups:
    """The control groups of this machine."""
    found = find_cgroups()
    if found is None:
        pytest.skip("this machine lets us make no control groups")
    return found


def test_a_group_bounds_all_that_a_node_starts(tmp_path: Path, groups: Cgroups) -> None:
    """A child that has no limit of its own is killed by the kernel for the node's; a sweep leaves nothing."""
    home = home_of(tmp_path)
    try:
        words, code = run_node(home, "groups")
        assert words == f"the node as a whole: 256 MiB and 50 % of a core by cgroup v{groups.version}"
        assert code == -9
        group = groups.group(cgroups.node_group_name(home))
        assert cgroups.memory_limit_mib(group) == 256
        assert all((place / cgroups.LEAF).is_dir() for place in group.places)
    finally:
        assert cgroups.sweep(home) == []
    assert not any(place.exists() for place in group.places)


def test_groups_of_copies_lie_below_the_nodes_and_go_with_it(tmp_path: Path, groups: Cgroups) -> None:
    """Tidying removes what belongs to nobody and keeps the node's own; the end of the node removes all."""
    home = home_of(tmp_path)
    whole = groups.create(cgroups.node_group_name(home), memory_mib=256, cpu_percent=50)
    sleeper = subprocess.Popen(["sleep", "600"])
    try:
        if groups.version != 1:
            (whole.memory / "cgroup.subtree_control").write_text("+cpu +memory")
        below = Cgroups(groups.version, whole.memory, whole.cpu)
        limits = Limits(home, below, nested=True)
        for app in ("application-a", "application-b"):
            with limits.begin(AppOrder(app, 1, ["x"], memory_limit_mib=64)):
                pass
        inside = below.group(cgroups.group_name(home, "application-a", 1))
        for place in inside.places:
            (place / "cgroup.procs").write_text(str(sleeper.pid))
        limits.tidy([("application-a", 1)])
        assert all(place.is_dir() for place in inside.places)
        assert not below.group(cgroups.group_name(home, "application-b", 1)).memory.exists()
        Limits(home, groups).tidy([])
        assert sleeper.poll() is None, "an agent that has no bounds any more keeps what lives in the old ones"
        cgroups.sweep(home)
        assert sleeper.wait(10) == -9
    finally:
        sleeper.kill()
        sleeper.wait()
        while cgroups.sweep(home):
            os.sched_yield()
    assert not any(place.exists() for place in whole.places)


def test_an_rlimit_bounds_each_process_and_says_what_it_does_not(tmp_path: Path) -> None:
    """The child gets no more memory and ends with an error of its own; nothing kills it."""
    words, code = run_node(home_of(tmp_path), "rlimit")
    assert "256 MiB of address space for each process by rlimit" in words
    assert "their sum and the processor not limited" in words
    assert code == 1


def test_a_bound_of_the_processor_alone_is_not_to_be_had_by_rlimit() -> None:
    """It is said, and this process gets no limit."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    bounded = bound_node("0123456789ab", NodeProcess(cpu_percent=50), None)
    assert bounded.words == "the node as a whole: processor not limited, no rlimit can"
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_without_bounds_nothing_is_said_or_done() -> None:
    """As a node was before there were any."""
    assert bound_node("0123456789ab", NodeProcess(), None) == (None, "", False)
    assert Limits("0123456789ab", None).words == "address space by rlimit; processor not limited"


def test_limits_say_what_keeps_the_node(tmp_path: Path) -> None:
    """`nodes show` prints these words."""
    said = Limits(home_of(tmp_path), None, whole="the node as a whole: x").words
    assert said == "address space by rlimit; processor not limited; the node as a whole: x"


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (None, Capacity(400, 8_192)),
        (NodeProcess(), Capacity(400, 8_192)),
        (NodeProcess(memory_mib=512), Capacity(400, 512)),
        (NodeProcess(memory_mib=65_536, cpu_percent=150), Capacity(150, 8_192)),
    ],
)
def test_a_node_offers_its_bounds_and_never_more_than_the_machine(
    bounds: NodeProcess | None, expected: Capacity
) -> None:
    """Placement counts with what is offered."""
    assert offered(Capacity(400, 8_192), bounds) == expected


def test_a_machine_that_says_nothing_offers_the_bounds() -> None:
    """0 stands for unknown."""
    assert offered(Capacity(0, 0), NodeProcess(memory_mib=512, cpu_percent=50)) == Capacity(50, 512)


def test_bounds_reach_the_agents_of_process_nodes_only(tmp_path: Path) -> None:
    """A container has its own."""
    pool = PoolConfig("k:1", str(tmp_path), "local", process=NodeProcess(memory_mib=512))
    entry = Entry(1, "127.0.0.1_8082", 8_082, 4)
    read = msgspec.json.decode(write_node_config(pool, entry, tmp_path).read_bytes(), type=NodeConfig)
    assert read.bounds == NodeProcess(memory_mib=512)
    boxes = msgspec.structs.replace(pool, provider="docker")
    read = msgspec.json.decode(write_node_config(boxes, entry, tmp_path).read_bytes(), type=NodeConfig)
    assert read.bounds is None


@pytest.mark.parametrize("wrong", [{"memory_mib": 64}, {"memory_mib": -1}, {"cpu_percent": 5}])
def test_bounds_that_no_agent_could_live_in_are_refused(wrong: dict[str, int]) -> None:
    """With what is allowed."""
    with pytest.raises(msgspec.ValidationError, match="is not allowed; allowed: 0, or"):
        msgspec.convert(
            {"bootstrap": "k:1", "data_dir": "d", "pool": "local", "process": wrong}, type=PoolConfig
        )


def test_it_is_explained_why_there_are_no_control_groups(tmp_path: Path) -> None:
    """Nothing mounted; and a group of version 2 that lacks a controller."""
    (tmp_path / "self").mkdir()
    assert explain_cgroups(tmp_path)[0] is None
    assert "rlimits only" in explain_cgroups(tmp_path)[1]
    assert "it is not mounted" in explain_cgroups(tmp_path)[1]
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "cgroup.controllers").write_text("cpu io")
    (tmp_path / "self" / "mountinfo").write_text(f"1 1 0:1 / {tree} rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "self" / "cgroup").write_text("0::/\n")
    assert f"{tree} has no controller memory" in explain_cgroups(tmp_path)[1]
    (tree / "cgroup.controllers").write_text("cpu memory")
    (tree / "cgroup.subtree_control").write_text("cpu memory")
    found, words = explain_cgroups(tmp_path)
    assert found is not None
    assert words == "memory and processor by cgroup v2, for each app and for a whole node"
