"""What a machine is told: golden texts, YAML that means what was meant, and its bound."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.cloud_init import CONFIG_PATH, UNIT_PATH, USER_DATA_BYTES_MAX, render_user_data
from agents.settings import CloudConfig, DockerConfig, NodeConfig, PoolConfig, read_config

GOLDEN = Path(__file__).parent / "golden"
AZURE = CloudConfig(
    driver="azure_arm",
    size="Standard_B2s",
    image="Debian:debian-12:12-gen2:latest",
    credentials={"tenant_id": "T", "subscription_id": "S", "key": "K", "secret": "X"},
    region="westeurope",
    options={"ex_resource_group": "watch", "ex_network": "net"},
    ssh_public_key="ssh-ed25519 AAAA someone",
)
EC2 = CloudConfig(
    driver="ec2",
    size="t3.small",
    image="ami-0123456789abcdef0",
    credentials={"key": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY"},
    region="eu-central-1",
    address="public",
    install=[
        "apt-get update",
        "apt-get install -y python3-venv",
        "curl -fsS https://example.org/code.tgz | tar xz -C /opt",
    ],
)
POOL = PoolConfig(
    bootstrap="kafka.example.org:9092", data_dir="data", pool="cloud", provider="cloud", cloud=AZURE
)


def render(pool: PoolConfig) -> str:
    """The user data of some order."""
    return render_user_data(pool, order=80, port=8082, slots=4)


GOLDENS = {
    "azure.yaml": POOL,
    "ec2.yaml": replace(POOL, cloud=EC2, restart_agents=True, docker=DockerConfig("tcp://10.0.0.9:2375")),
    "root.yaml": replace(POOL, cloud=replace(AZURE, user="root", home="/srv/wk", python="/usr/bin/python3")),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_user_data_is_as_it_was(name: str) -> None:
    """A change of what machines are told is seen; `python -m tests.cloud.test_cloud_init` writes the files anew."""
    assert render(GOLDENS[name]) == (GOLDEN / name).read_text()


def test_agent_can_read_its_configuration(tmp_path: Path) -> None:
    """What cloud-init writes is a configuration of a node agent, which finds its address by itself."""
    document = yaml.safe_load(render(POOL))
    files = {file["path"]: file for file in document["write_files"]}
    path = tmp_path / "agent.json"
    path.write_text(files[CONFIG_PATH]["content"])
    config = read_config(str(path), NodeConfig)
    assert (config.order, config.port, config.slots, config.pool, config.ip) == (80, 8082, 4, "cloud", "")
    assert config.bootstrap == "kafka.example.org:9092"
    assert {file["permissions"] for file in files.values()} == {"0644"}


def test_agent_starts_after_the_code_is_there() -> None:
    """The pool's commands come first, and one that fails ends the script."""
    document = yaml.safe_load(render(replace(POOL, cloud=EC2)))
    ((shell, flags, script),) = document["runcmd"]
    assert (shell, flags) == ("sh", "-ec")
    assert script.splitlines() == [*EC2.install, "systemctl enable --now watchkeep-agent.service"]


def test_apps_end_with_their_agent_unless_agents_start_again() -> None:
    """The unit's KillMode follows `restart_agents`."""
    units = [
        yaml.safe_load(render(replace(POOL, restart_agents=keeps)))["write_files"][1]
        for keeps in (False, True)
    ]
    assert [unit["path"] for unit in units] == [UNIT_PATH, UNIT_PATH]
    assert "KillMode=mixed\n" in units[0]["content"]
    assert "KillMode=process\n" in units[1]["content"]


def test_kafka_may_have_another_name_in_the_cloud() -> None:
    """`cloud.bootstrap` counts in the machine."""
    text = render(replace(POOL, cloud=replace(AZURE, bootstrap="10.0.0.4:9092")))
    assert "10.0.0.4:9092" in text
    assert "kafka.example.org" not in text


def test_user_data_has_a_bound() -> None:
    """What no cloud would take is refused here, with what to do."""
    install = ["true " + "x" * 80] * 200
    with pytest.raises(ValueError, match=f"a cloud takes {USER_DATA_BYTES_MAX}: shorten `install`"):
        render(replace(POOL, cloud=replace(AZURE, install=install)))


def test_user_data_names_no_credential() -> None:
    """Neither the names of the credentials nor the key of whoever may log in go into it."""
    text = render(replace(POOL, cloud=EC2))
    assert "AWS" not in text
    assert "ssh-ed25519" not in render(POOL)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60), max_size=4))
def test_any_command_arrives_as_it_was_written(install: list[str]) -> None:
    """A YAML reader gets the pool's commands back, whatever they hold."""
    document = yaml.safe_load(render(replace(POOL, cloud=replace(AZURE, install=install))))
    script = document["runcmd"][0][2]
    assert script == "\n".join([*install, "systemctl enable --now watchkeep-agent.service"])


if __name__ == "__main__":
    for file, pool_ in GOLDENS.items():
        (GOLDEN / file).write_text(render(pool_))
