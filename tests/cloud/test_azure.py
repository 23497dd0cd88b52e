"""Azure through libcloud's own driver, against recorded answers; no real cloud is asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from libcloud.common.azure_arm import AzureResourceManagementConnection
from libcloud.compute.drivers import azure_arm
from msgspec.structs import replace

from agents import cloud_sdk
from agents.cloud_calls import CloudCalls
from agents.cloud_provider import CloudProvider
from agents.cloud_sdk import LibcloudMachines
from agents.machines import CloudAwayError, CloudError, MachinePlan, Naming
from agents.provider import CreateError
from agents.settings import PoolConfig
from sdk.contract.orders import NodeOrder
from tests.agents.waiting import until
from tests.cloud.azure_mock import Azure, busy, connection_class
from tests.cloud.local import PACE
from tests.cloud.test_cloud_init import AZURE, EC2
from tests.cloud.test_dialects import OPENSTACK

NAMING = Naming(prefix="watchkeep", pool="cloud", owner="someone")
NAME = NAMING.name_of(80)
PLAN = MachinePlan(NAME, {"team": "tests", **NAMING.tags_of(80)}, "#cloud-config\n{}\n")
SECRETS = {"T": "tenant-1", "S": "99999999", "K": "client-1", "X": "hunter2-very-secret"}


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Azure:
    """The recorded account, in place of the network and of libcloud's waits."""
    account = Azure()
    monkeypatch.setattr(AzureResourceManagementConnection, "conn_class", connection_class(account))
    monkeypatch.setattr(azure_arm, "time", SimpleNamespace(time=time.time, sleep=lambda _: None))
    return account


def connect() -> LibcloudMachines:
    """A connection with a login of its own."""
    return cloud_sdk.connect(AZURE, NAMING, SECRETS.__getitem__)


def test_machine_is_asked_for_with_all_that_the_pool_says(azure: Azure) -> None:
    """Size, image, location, tags, user data, network and key arrive where Azure wants them."""
    connect().make(PLAN)
    interface, machine = azure.bodies
    subnet = interface["properties"]["ipConfigurations"][0]["properties"]["subnet"]["id"]
    assert subnet.endswith("/Microsoft.Network/virtualnetworks/net/subnets/default")
    properties = machine["properties"]
    assert (machine["name"], machine["location"]) == (NAME, "westeurope")
    assert properties["hardwareProfile"] == {"vmSize": "Standard_B2s"}
    assert properties["storageProfile"]["imageReference"] == {
        "publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest",
    }  # fmt: skip
    assert properties["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    assert properties["storageProfile"]["osDisk"]["managedDisk"] == {"storageAccountType": "Standard_LRS"}
    assert machine["tags"] == dict(PLAN.tags)
    assert azure.custom_data() == PLAN.user_data
    key = properties["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["keyData"]
    assert key == AZURE.ssh_public_key
    assert azure.logins[0]["client_secret"] == [SECRETS["X"]]


def test_image_of_a_gallery_is_named_by_its_id(azure: Azure) -> None:
    """An image that has the agent already comes from a gallery."""
    image = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/mine/images/watchkeep"
    config = replace(AZURE, image=image)
    cloud_sdk.connect(config, NAMING, SECRETS.__getitem__).make(PLAN)
    assert azure.bodies[-1]["properties"]["storageProfile"]["imageReference"] == {"id": image}


def test_second_call_makes_no_second_machine(azure: Azure) -> None:
    """What is there by name is not asked for again."""
    connect().make(PLAN)
    connect().make(PLAN)
    assert [path for method, path in azure.asked if method == "PUT" and "virtualMachines" in path] == [
        f"/subscriptions/99999999/resourceGroups/watch/providers/Microsoft.Compute/virtualMachines/{NAME}"
    ]


def test_list_tells_order_and_state_and_description_the_address(azure: Azure) -> None:
    """Each address costs a request, so a list has none; strangers are not seen."""
    machines = connect()
    machines.make(PLAN)
    azure.machines["a-stranger"] = azure.machines[NAME] | {"name": "a-stranger", "tags": {"team": "others"}}
    (machine,) = machines.describe(80)
    assert (machine.name, machine.order, machine.state, machine.ip) == (NAME, 80, "running", "10.1.0.4")
    assert machines.describe(81) == []
    azure.asked.clear()
    assert machines.list_machines() == [machine._replace(ip="")]
    assert not [path for _, path in azure.asked if "networkInterfaces" in path]
    azure.power = "PowerState/deallocated"
    assert machines.list_machines()[0].state == "stopped"


def test_requests_have_a_bound(azure: Azure) -> None:
    """A cloud that accepts a connection and says nothing is given up by the request itself."""
    assert connect()._driver.connection.timeout == 30
    ec2 = cloud_sdk.connect(EC2, NAMING, lambda _: "credential")
    assert ec2._driver.connection.timeout == 30
    openstack = cloud_sdk.connect(OPENSTACK, NAMING, lambda _: "credential")
    assert openstack._driver.connection.timeout == 30


def test_destroying_takes_interface_and_disk_along(azure: Azure) -> None:
    """Nothing that costs money stays; a second time is harmless."""
    machines = connect()
    machines.make(PLAN)
    (machine,) = machines.list_machines()
    machines.destroy(machine.id)
    machines.destroy(machine.id)
    assert (azure.machines, azure.interfaces, azure.disks) == ({}, {}, set())


def test_parked_machine_is_deallocated_and_started(azure: Azure) -> None:
    """A machine that is only shut down would still be paid for."""
    machines = connect()
    machines.make(PLAN)
    (machine,) = machines.list_machines()
    machines.stop(machine.id)
    assert machines.list_machines()[0].state == "stopped"
    machines.start(machine.id)
    assert machines.list_machines()[0].state == "running"


def test_busy_cloud_is_told_from_one_that_refuses(azure: Azure) -> None:
    """429 and 5xx may be asked again, 403 not; the pause that is asked for is known."""
    machines = connect()
    azure.instead = [busy("GET")]
    with pytest.raises(CloudAwayError) as caught:
        machines.list_machines()
    assert caught.value.retry_after_s == 1.0
    azure.instead = [("GET", 503, {"error": {"code": "ServerBusy", "message": "later"}}, {})]
    with pytest.raises(CloudAwayError):
        machines.list_machines()
    azure.instead = [("GET", 403, {"error": {"code": "AuthorizationFailed", "message": "no"}}, {})]
    with pytest.raises(CloudError, match="AuthorizationFailed") as refused:
        machines.list_machines()
    assert not isinstance(refused.value, CloudAwayError)


def test_text_of_an_error_holds_no_credential(azure: Azure) -> None:
    """An answer that quotes the request is cut."""
    machines = connect()
    azure.instead = [
        ("GET", 400, {"error": {"code": "Bad", "message": f"secret {SECRETS['X']} is wrong"}}, {})
    ]
    with pytest.raises(CloudError) as caught:
        machines.list_machines()
    assert SECRETS["X"] not in str(caught.value)
    assert "***" in str(caught.value)


def play(folder: Path, act: Callable[[CloudProvider, list[tuple[object, ...]]], Awaitable[None]]) -> None:
    """Run `act` with a provider over the recorded account."""

    async def run() -> None:
        config = PoolConfig("kafka:9092", str(folder), "cloud", provider="cloud", cloud=AZURE)
        provider = CloudProvider(config, CloudCalls(connect, first_pause_s=0.01), NAMING, PACE)
        exits: list[tuple[object, ...]] = []
        provider.on_exit = lambda *exit_: exits.append(exit_)
        try:
            await act(provider, exits)
        finally:
            provider.close()

    asyncio.run(run())


def test_provider_makes_and_destroys_a_node(azure: Azure, tmp_path: Path) -> None:
    """The node is named after the interface's address; at the end nothing is left."""

    async def act(provider: CloudProvider, exits: list[tuple[object, ...]]) -> None:
        node, _ = await provider.create(80, NodeOrder(80, 4, 8082))
        assert node == "node-10.1.0.4_8082"
        assert '\\"order\\": 80' in azure.custom_data()
        await provider.destroy(80)
        await until(lambda: exits)
        assert exits == [(80, -9, "destroyed")]

    play(tmp_path, act)
    assert (azure.machines, azure.interfaces, azure.disks) == ({}, {}, set())


def test_interface_of_a_machine_that_was_refused_is_removed(
    azure: Azure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver makes the interface first; without a quota for the machine it would stay for ever."""
    caplog.set_level(logging.WARNING)
    real = azure.answer

    def answer(method: str, url: str, body: str | None) -> tuple[int, object, dict[str, str]]:
        if method == "PUT" and "virtualMachines" in url:
            return 409, {"error": {"code": "QuotaExceeded", "message": "no cores left"}}, {}
        return real(method, url, body)

    azure.answer = answer  # type: ignore[method-assign]

    async def act(provider: CloudProvider, exits: list[tuple[object, ...]]) -> None:
        with pytest.raises(CreateError, match="QuotaExceeded"):
            await provider.create(80, NodeOrder(80, 4, 8082))
        assert list(azure.interfaces) == [f"{NAME}-nic"] or not azure.interfaces
        await until(lambda: not azure.interfaces)
        assert exits == []

    play(tmp_path, act)
    assert f"removing the leftover part {NAME}-nic" in caplog.text


def test_preempted_machine_has_ended(azure: Azure, tmp_path: Path) -> None:
    """A spot machine that Azure deallocates is told with a reason, and what is left of it goes."""

    async def act(provider: CloudProvider, exits: list[tuple[object, ...]]) -> None:
        await provider.create(80, NodeOrder(80, 4, 8082))
        azure.power = "PowerState/deallocated"
        while not exits:
            await provider.tidy()
            await asyncio.sleep(0.01)
        assert exits == [(80, None, "its machine was stopped, and not by us (preempted, or by hand)")]
        await until(lambda: not azure.machines and not azure.interfaces)

    play(tmp_path, act)
