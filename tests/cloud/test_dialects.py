"""The table of drivers: its names are those of libcloud, and each driver gets what it wants."""

from __future__ import annotations

import base64
import inspect
from typing import Any

import pytest
from libcloud.compute.drivers.ec2 import EC2NodeDriver
from libcloud.compute.providers import get_driver
from msgspec.structs import replace

from agents.cloud_dialects import DIALECTS, Dialect, creation_arguments, state_of, taken_arguments
from agents.cloud_sdk import LibcloudMachines
from agents.machines import MachinePlan, Naming
from agents.settings import CloudConfig
from tests.cloud.test_cloud_init import EC2

NAMING = Naming(prefix="watchkeep", pool="cloud", owner="someone")
PLAN = MachinePlan(NAMING.name_of(80), NAMING.tags_of(80), "#cloud-config\n{}\n")
OPENSTACK = CloudConfig(
    driver="openstack",
    size="flavor-1",
    image="image-1",
    credentials={"key": "U", "secret": "P"},
    driver_options={"ex_force_auth_url": "https://keystone.example.org:5000"},
    options={"networks": ["net-1"], "ex_security_groups": ["default", "kafka"], "ex_config_drive": True},
    zone="nova",
)
GCE = CloudConfig(
    driver="gce",
    size="e2-small",
    image="debian-12",
    credentials={"user_id": "U", "key": "K"},
    driver_options={"project": "mine"},
    options={"ex_network": "net", "ex_preemptible": True},
    zone="europe-west3-a",
)
EC2_WHOLE = replace(
    EC2,
    zone="eu-central-1a",
    options={"ex_subnet": "subnet-1", "ex_security_group_ids": ["sg-1"], "ex_spot": True},
)


def create_node_of(driver: str) -> Any:
    """The function whose arguments count: OpenStack's class makes an object of a class for its API's version."""
    if driver == "openstack":
        from libcloud.compute.drivers.openstack import OpenStack_2_NodeDriver

        return OpenStack_2_NodeDriver.create_node
    return get_driver(driver).create_node


class Recorder:
    """A driver that writes down how it was called."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def list_nodes(self, **_: Any) -> list[Any]:
        """No machines."""
        return []

    def create_node(self, **given: Any) -> None:
        """Write it down."""
        self.given = given


def given_to(config: CloudConfig) -> dict[str, Any]:
    """What the driver of this configuration is called with."""
    recorder = Recorder()
    LibcloudMachines(recorder, DIALECTS[config.driver], config, NAMING).make(PLAN)
    return recorder.given


@pytest.mark.parametrize(("name", "dialect"), DIALECTS.items())
def test_arguments_are_those_of_libcloud(name: str, dialect: Dialect) -> None:
    """Each name in the table is an argument of the driver's `create_node`."""
    parameters = inspect.signature(create_node_of(name)).parameters
    named = taken_arguments(dialect) | {
        *dialect.defaults,
        *dialect.public,
        *dialect.wrapped,
        *dialect.plain_options,
    }
    takes_all = any(it.kind is inspect.Parameter.VAR_KEYWORD for it in parameters.values())
    # Given only where the driver has them, see `LibcloudMachines._arguments`.
    assert takes_all or named - {"location", "auth"} <= parameters.keys()


@pytest.mark.parametrize("name", DIALECTS)
def test_driver_is_made_with_arguments_of_libcloud(name: str) -> None:
    """Credentials, region and zone are arguments of the driver itself."""
    dialect = DIALECTS[name]
    parameters = set(inspect.signature(get_driver(name).__init__).parameters)
    if name == "openstack":
        from libcloud.compute.drivers.openstack import OpenStackNodeDriver

        parameters = {"key", "secret", "ex_force_auth_url", "ex_force_service_region"}
        assert {"key", "secret"} <= set(inspect.signature(OpenStackNodeDriver.__new__).parameters)
    named = {
        *dialect.credentials,
        dialect.driver_region,
        dialect.driver_zone,
        *dialect.needs_driver_options,
    } - {""}
    assert named <= parameters


def test_ec2_gets_text_tags_token_and_objects() -> None:
    """The token makes a repeated call the same instance; subnet and zone are objects to libcloud."""
    given = given_to(EC2_WHOLE)
    assert given["ex_userdata"] == PLAN.user_data
    assert given["ex_metadata"] == PLAN.tags
    assert given["ex_clienttoken"] == PLAN.name
    assert (given["size"].id, given["image"].id) == ("t3.small", "ami-0123456789abcdef0")
    assert given["ex_subnet"].id == "subnet-1"
    assert given["ex_security_group_ids"] == ["sg-1"]
    assert given["location"].availability_zone.name == "eu-central-1a"
    assert given["ex_assign_public_ip"] is True


def test_ec2_driver_makes_a_request_of_it() -> None:
    """The real driver turns these arguments into EC2's words, and an answer of EC2's shape into a machine of ours."""
    asked: list[dict[str, Any]] = []
    driver = EC2NodeDriver("id", "secret", region="eu-central-1")

    class Connection:
        def __init__(self) -> None:
            self.driver = driver

        def request(self, _: str, params: dict[str, Any]) -> Any:
            from xml.etree import ElementTree as ET

            asked.append(dict(params))
            return type("Answer", (), {"object": ET.fromstring(EC2_ANSWER.replace("NAME", PLAN.name))})  # noqa: S314

    given: Any = driver
    given.connection = Connection()
    machines = LibcloudMachines(driver, DIALECTS["ec2"], replace(EC2_WHOLE, address="private"), NAMING)
    arguments = machines._arguments(PLAN)
    driver.create_node(name=PLAN.name, **arguments)
    (request,) = asked
    assert request["ClientToken"] == PLAN.name
    assert base64.b64decode(request["UserData"]).decode() == PLAN.user_data
    assert request["SubnetId"] == "subnet-1"
    assert request["Placement.AvailabilityZone"] == "eu-central-1a"
    tags = {
        request[f"TagSpecification.1.Tag.{n}.Key"]: request[f"TagSpecification.1.Tag.{n}.Value"]
        for n in range(1, 6)
    }
    assert tags == {"Name": PLAN.name, **PLAN.tags}
    (machine,) = machines.list_machines()
    assert (machine.order, machine.state, machine.ip) == (80, "stopped", "10.0.0.7")
    filters = [value for key, value in asked[1].items() if key.startswith("Filter.")]
    assert sorted(map(str, filters)) == sorted([f"tag:{NAMING.owner_tag[0]}", NAMING.owner_tag[1]])


EC2_ANSWER = """\
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
 <reservationSet><item><reservationId>r-1</reservationId><instancesSet><item>
  <instanceId>i-1</instanceId><imageId>ami-1</imageId>
  <instanceState><code>80</code><name>stopped</name></instanceState>
  <privateIpAddress>10.0.0.7</privateIpAddress><launchTime>2026-01-01T00:00:00.000Z</launchTime>
  <tagSet><item><key>Name</key><value>NAME</value></item></tagSet>
 </item></instancesSet></item></reservationSet>
 <instancesSet><item><instanceId>i-1</instanceId>
  <instanceState><code>0</code><name>pending</name></instanceState></item></instancesSet>
 <addressesSet/>
</DescribeInstancesResponse>
"""


def test_gce_gets_user_data_in_its_metadata() -> None:
    """Labels are the tags; names stay texts; without a public address none is made."""
    given = given_to(GCE)
    assert given["ex_metadata"] == {"user-data": PLAN.user_data}
    assert given["ex_labels"] == PLAN.tags
    assert (given["size"], given["image"], given["location"]) == ("e2-small", "debian-12", "europe-west3-a")
    assert given["external_ip"] is None
    assert given_to(replace(GCE, address="public"))["external_ip"] == "ephemeral"


def test_openstack_gets_networks_and_groups_as_objects() -> None:
    """The driver reads ids of networks and names of groups."""
    given = given_to(OPENSTACK)
    assert [it.id for it in given["networks"]] == ["net-1"]
    assert [it.name for it in given["ex_security_groups"]] == ["default", "kafka"]
    assert given["ex_availability_zone"] == "nova"
    assert given["ex_userdata"] == PLAN.user_data
    assert given["ex_config_drive"] is True


def test_options_come_after_our_defaults() -> None:
    """What the pool says counts; what is ours cannot be said."""
    dialect = DIALECTS["azure_arm"]
    arguments = creation_arguments(
        dialect, PLAN, {"ex_os_disk_delete": False, "ex_disk_size": 64}, is_public=False
    )
    assert (arguments["ex_os_disk_delete"], arguments["ex_use_managed_disks"]) == (False, True)
    assert arguments["ex_customdata"] == PLAN.user_data.encode()


@pytest.mark.parametrize(
    ("driver", "state", "shown", "expected"),
    [
        ("openstack", "running", {}, "running"),
        ("openstack", "error", {}, "failed"),
        ("openstack", "rebooting", {}, "coming"),
        ("azure_arm", "stopped", {}, "stopped"),
        ("gce", "terminated", {}, "gone"),
        # libcloud knows four states of an instance, EC2 six.
        ("ec2", "unknown", {"status": "stopped"}, "stopped"),
        ("ec2", "unknown", {"status": "stopping"}, "coming"),
        ("ec2", "running", {"status": "running"}, "running"),
        ("ec2", "terminated", {"status": "terminated"}, "gone"),
    ],
)
def test_states_are_ours(driver: str, state: str, shown: dict[str, str], expected: str) -> None:
    """Each word of a driver means one of five things to a provider."""
    assert state_of(DIALECTS[driver], state, shown) == expected
