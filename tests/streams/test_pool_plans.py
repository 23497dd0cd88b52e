"""The pools of the settings: what is asked of the log, what each provisioner is told, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdk.contract.requests import ConfigurePool
from streams.commands import CommandError
from streams.local.checks import check_pools
from streams.local.launch import check_provisioners
from streams.local.stack import plan_children
from streams.pool_plans import PoolPlanError, explain_pools, plan_pools
from streams.seeding import list_wishes
from streams.settings import PROJECT_ROOT, Settings, SettingsError, load_settings
from tables.state import State


def _settings(tmp_path: Path, **pools: dict[str, Any]) -> Settings:
    return Settings(data_dir=str(tmp_path), pools=pools)


def test_the_settings_of_the_only_pool_are_one_pool(tmp_path: Path) -> None:
    """Without `[pools]` there is the pool of the settings, as one could say in short."""
    (plan,) = plan_pools(Settings(data_dir=str(tmp_path), nodes=2, slots=5, node_port_base=9_500))
    assert plan.wish() == ConfigurePool("pool-local", 2, 5)
    assert (plan.config["port_base"], plan.config["provider"]) == (9_500, "process")


def test_each_pool_is_configured_and_gets_a_provisioner(tmp_path: Path) -> None:
    """A table says what differs from the deployment; numbers go to the log, all else to the provisioner."""
    settings = _settings(
        tmp_path,
        near={"nodes": 2, "min": 1, "max": 6, "spares": 1, "slots": 3, "register_within_ms": 600_000},
        far={"provider": "docker", "ip": "10.0.0.1", "port_base": 9_000, "container": {"memory_mib": 300}},
    )

    wishes = list(list_wishes(State(), settings, []).values())
    children = [child.name for child in plan_children(settings, None, demo=False)]
    told = json.loads((tmp_path / "provisioner-far.json").read_text())

    near = ConfigurePool("pool-near", 2, 3, nodes_min=1, nodes_max=6, spares=1, register_within_ms=600_000)
    assert wishes == [near, ConfigurePool("pool-far", 3, 4)]
    assert [name for name in children if name.startswith("provisioner")] == [
        "provisioner-near",
        "provisioner-far",
    ]
    assert (told["pool"], told["ip"], told["port_base"], told["provider"]) == (
        "far",
        "10.0.0.1",
        9_000,
        "docker",
    )
    assert told["container"] == {"image": "watchkeep/python:local", "memory_mib": 300}
    assert settings.default_pool == "near"


def test_pools_on_one_address_get_ports_apart(tmp_path: Path) -> None:
    """Who says nothing of ports gets a range of its own, up to the next pool's."""
    plans = plan_pools(_settings(tmp_path, a={}, b={}, c={"ip": "10.0.0.1"}))
    ranges = [(plan.config["port_base"], plan.config["port_last"]) for plan in plans]
    assert ranges == [(8_082, 10_081), (10_082, 65_535), (8_082, 65_535)]


def test_machines_of_their_own_share_no_ports(tmp_path: Path) -> None:
    """A pool whose nodes live on hosts of a file begins where every pool does, and what `ssh` says is handed on."""
    plans = plan_pools(_settings(tmp_path, a={}, b={"provider": "ssh", "ssh": {"hosts": "hosts.toml"}}))
    assert [plan.config["port_base"] for plan in plans] == [8_082, 8_082]
    assert plans[1].config["ssh"] == {"hosts": "hosts.toml"}


def test_a_provisioner_of_a_pool_that_is_gone_is_told_nothing(tmp_path: Path) -> None:
    """What an earlier `up` wrote for a pool that the settings no longer have is taken away."""
    plan_children(_settings(tmp_path, a={}, b={}), None, demo=False)
    plan_children(_settings(tmp_path, b={}), None, demo=False)
    assert sorted(path.name for path in tmp_path.glob("provisioner*.json")) == ["provisioner-b.json"]


@pytest.mark.parametrize(
    ("pools", "told"),
    [
        ({"a": {"nodes": "many"}}, "pools.a.nodes: Expected int, got str."),
        ({"a": {"nodes": 9, "max": 4}}, "pools.a: nodes: 9 is out of range; allowed: 0 to 4 (min and max)."),
        (
            {"a": {"slots": 0}},
            "pools.a: nodes 3 or slots 0 out of range; allowed: 0 to 60000 nodes, 1 to 10000 slots.",
        ),
        ({"a": {"port_base": "x"}}, "pools.a.port_base = 'x' is not allowed; allowed is a whole number."),
        ({"a b": {}}, "pools.a b: pool 'a b' is not a name"),
        (
            {"a": {"prefix": "x"}},
            "pools.a.prefix: a pool has none of its own; set it for the whole deployment.",
        ),
        (
            {"a": {"port_base": 9_000, "nodes": 12}, "b": {"port_base": 9_008}},
            "pools.a.port_base: from 9000 to 9007 on 127.0.0.1 there are 8 ports below those of pools.b, and 12 ",
        ),
        (
            {"a": {"port_base": 9_000}, "b": {"port_base": 9_000}},
            "pools.a.port_base: from 9000 to 8999 on 127.0.0.1 there are 0 ports below those of pools.b, and 3 ",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_named(tmp_path: Path, pools: dict[str, Any], told: str) -> None:
    """The sentence names pool, key and what is allowed."""
    with pytest.raises(PoolPlanError) as error:
        plan_pools(_settings(tmp_path, **pools))
    assert error.value.message.startswith(told)


def test_the_file_names_itself_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong table in the settings file is a setting that cannot be used."""
    path = tmp_path / "watchkeep.toml"
    path.write_text("[pools.a]\nspares = -1\n", encoding="utf-8")
    monkeypatch.setenv("WATCHKEEP_CONFIG", str(path))
    monkeypatch.setenv("WATCHKEEP_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert error.value.message == (
        "watchkeep.toml: pools.a: spares: -1 is out of range; allowed: 0 to 60000."
    )


def test_what_only_a_provisioner_knows_is_checked_before_anything_starts(tmp_path: Path) -> None:
    """An unknown key of a table is refused by the agents' own check, which names it and the pool's file."""
    settings = _settings(tmp_path, a={"contaner": {"image": "x"}})
    plan_children(settings, None, demo=False)
    with pytest.raises(CommandError) as error:
        check_provisioners(settings)
    assert "contaner" in error.value.message
    assert "provisioner-a.json" in error.value.message


def test_right_tables_pass_the_check_of_the_agents(tmp_path: Path) -> None:
    """What is written by default is what a provisioner takes."""
    settings = _settings(tmp_path, a={"restart_agents": True}, b={"provider": "docker"})
    plan_children(settings, None, demo=False)
    done = subprocess.run(
        [sys.executable, "-m", "agents.check_config", *map(str, tmp_path.glob("*.json"))],
        cwd=PROJECT_ROOT,
        check=False,
    )
    assert done.returncode == 0


def test_each_value_of_each_pool_is_explained(tmp_path: Path) -> None:
    """`config show` and `doctor` say what each pool is made of."""
    rows = dict(explain_pools(_settings(tmp_path, a={"spares": 2})))
    found = check_pools(_settings(tmp_path, a={"spares": 2}, b={"ip": "10.0.0.1"}))
    assert found.detail == (
        "a: 3 nodes and 2 spares, process, 127.0.0.1 ports 8082 to 65535; "
        "b: 3 nodes, process, 10.0.0.1 ports 8082 to 65535"
    )
    assert (rows["pools.a.spares"], rows["pools.a.nodes"], rows["pools.a.provider"]) == (2, 3, "process")
