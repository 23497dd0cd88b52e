"""A wrong cloud configuration is refused when it is read, with one sentence that names key and remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from agents.settings import PoolConfig, read_config

CLOUD: dict[str, Any] = {
    "driver": "azure_arm",
    "size": "Standard_B2s",
    "image": "Debian:debian-12:12-gen2:latest",
    "credentials": {
        "tenant_id": "AZ_TENANT",
        "subscription_id": "AZ_SUB",
        "key": "AZ_CLIENT",
        "secret": "AZ_SECRET",
    },
    "region": "westeurope",
    "options": {"ex_resource_group": "watch", "ex_network": "net"},
    "ssh_public_key": "ssh-ed25519 AAAA someone",
}
EC2 = {
    "driver": "ec2",
    "image": "ami-1",
    "credentials": {"key": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY"},
    "options": {},
}
GCE = {
    "driver": "gce",
    "zone": "z",
    "credentials": {"user_id": "U", "key": "K"},
    "driver_options": {"project": "p"},
}


def read(folder: Path, cloud: dict[str, Any] | None) -> PoolConfig:
    """What the provisioner makes of a file with this table."""
    path = folder / "pool.json"
    whole = {"bootstrap": "kafka:9092", "data_dir": str(folder), "pool": "cloud", "provider": "cloud"}
    path.write_text(json.dumps(whole | ({"cloud": cloud} if cloud is not None else {})))
    return read_config(str(path), PoolConfig)


@pytest.mark.parametrize(
    "changes", [{}, EC2, GCE, {**EC2, "address": "public", "options": {"ex_spot": True}}]
)
def test_right_configurations_are_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    """One of each kind."""
    config = read(tmp_path, {**CLOUD, **changes})
    assert config.cloud is not None
    assert config.cloud.size == "Standard_B2s"


def test_provider_needs_its_table(tmp_path: Path) -> None:
    """`provider = "cloud"` alone says nothing about machines."""
    with pytest.raises(SystemExit, match="the provider cloud needs the table `cloud`"):
        read(tmp_path, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"driver": "nimbus"}, "nimbus"),
        ({"colour": "blue"}, "colour"),
        ({"size": " "}, "`size` is empty"),
        ({"image": "debian"}, "Publisher:Offer:Sku:Version"),
        ({"region": ""}, "driver azure_arm needs `region`"),
        ({"ssh_public_key": ""}, "driver azure_arm needs `ssh_public_key`"),
        ({"address": "public"}, "cannot be had with driver azure_arm"),
        ({"home": "relative/path"}, "home 'relative/path': an absolute path"),
        ({"python": "/usr/bin/python3 -u"}, "python '/usr/bin/python3 -u'"),
        ({"user": "Root User"}, "user 'Root User': a login name"),
        ({"owner": "Me!"}, "owner 'Me!'"),
        ({"tags": {"Team": "x"}}, "tag 'Team'"),
        ({"tags": {"watchkeep-pool": "x"}}, "are ours"),
        ({"tags": {"team": "A B"}}, "tag team = 'A B'"),
        ({"tags": {f"tag{n}": "" for n in range(41)}}, "41 tags, at most 40"),
        ({"credentials": {"key": "A", "secret": "B"}}, "credentials.tenant_id is missing"),
        ({"credentials": {**CLOUD["credentials"], "Key": "A"}}, "'Key' is no argument"),
        ({"options": {"ex_network": "net"}}, "options.ex_resource_group is missing"),
        ({"options": {**CLOUD["options"], "size": "x"}}, "options.size is set by the platform"),
        ({"options": {**CLOUD["options"], "ex_tags": "x"}}, "options.ex_tags is set by the platform"),
        (
            {"options": {**CLOUD["options"], "network": "x"}},
            "options.network: only arguments that begin with ex_",
        ),
        ({"options": {**CLOUD["options"], "ex_nic": {"id": 1}}}, "options.ex_nic: a text, a number"),
        ({"driver_options": {"secret": "x"}}, "driver_options.secret is no further argument"),
        ({"driver_options": {"ex_force_auth_token": "x"}}, "looks like a secret"),
        ({**GCE, "driver_options": {}}, "driver_options.project is missing"),
        ({**GCE, "zone": ""}, "driver gce needs `zone`"),
    ],
)
def test_wrong_configurations_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """The sentence names the key and what is wrong with it."""
    with pytest.raises(SystemExit) as caught:
        read(tmp_path, {**CLOUD, **changes})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_value_in_place_of_a_name_is_not_repeated(tmp_path: Path) -> None:
    """Whoever puts the secret itself there does not find it in the log."""
    with pytest.raises(SystemExit) as caught:
        read(tmp_path, {**CLOUD, "credentials": {**CLOUD["credentials"], "secret": "hunter2/+very=secret"}})
    assert "credentials.secret is no name" in str(caught.value)
    assert "hunter2" not in str(caught.value)
