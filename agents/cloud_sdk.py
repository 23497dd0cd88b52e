"""The port to machines on apache-libcloud. Shell of the agents; loaded where used, in threads.

libcloud is blocking and untyped: what comes out of it is given a type here, and its errors become ours here. A text of
an error may quote a request, so every credential is cut out of it.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import requests
from libcloud.common.exceptions import BaseHTTPError, RateLimitReachedError
from libcloud.common.types import InvalidCredsError
from libcloud.compute.base import NodeAuthSSHKey, NodeImage, NodeLocation, NodeSize
from libcloud.compute.drivers.azure_arm import AzureComputeGalleryImage, AzureNodeDriver
from libcloud.compute.drivers.ec2 import EC2NodeLocation, ExEC2AvailabilityZone
from libcloud.compute.providers import get_driver

from agents.cloud_checks import gallery_parts
from agents.cloud_dialects import DIALECTS, Dialect, creation_arguments, state_of
from agents.machines import CloudAwayError, CloudError, Machine, MachinePlan, Naming, Part
from agents.settings import CloudConfig

#: What a server says when it is busy or ill, and another try may do.
_BUSY_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE_CODES = frozenset({404, 410})
#: Of an error's text: it goes to the log and into an event.
_TEXT_CHARACTERS_MAX = 300


class LibcloudMachines:
    """The machines of one pool, through one driver."""

    def __init__(self, driver: Any, dialect: Dialect, config: CloudConfig, naming: Naming) -> None:
        self._driver = driver
        self._is_azure = isinstance(driver, AzureNodeDriver)
        self._dialect = dialect
        self._config = config
        self._naming = naming
        self._secrets: tuple[str, ...] = ()

    def list_machines(self) -> list[Machine]:
        """All of ours."""
        with self._translated("list"):
            return [self._machine_of(node) for node in self._nodes(with_power=True)]

    def describe(self, order: int) -> list[Machine]:
        """Those of an order; on Azure each is asked for its addresses and whether it runs."""
        with self._translated("describe"):
            nodes = [node for node in self._nodes() if self._machine_of(node).order == order]
            if self._is_azure:
                nodes = [self._driver.ex_get_node(node.id) for node in nodes]
            return [self._machine_of(node) for node in nodes]

    def make(self, plan: MachinePlan) -> None:
        """Make a machine unless it is there: another try, or another provisioner's life, may have made it."""
        with self._translated("create"):
            for node in self._nodes():
                machine = self._machine_of(node)
                if machine.name == plan.name and machine.state != "gone":
                    return
            self._driver.create_node(name=plan.name, **self._arguments(plan))

    def destroy(self, machine: str) -> None:
        """Destroy one of ours; nothing else is ever found here."""
        with self._translated("destroy"):
            for node in self._nodes():
                if str(node.id) == machine and self._machine_of(node).state != "gone":
                    self._gone_is_good(partial(self._driver.destroy_node, node))

    def stop(self, machine: str) -> None:
        """Shut one down."""
        self._signal(machine, "stop_node")

    def start(self, machine: str) -> None:
        """Start one again."""
        self._signal(machine, "start_node")

    def list_parts(self) -> list[Part]:
        """On Azure the network interface comes before its machine, and stays if that fails."""
        if not self._is_azure:
            return []
        with self._translated("list parts"):
            nics = self._driver.ex_list_nics(self._config.options["ex_resource_group"])
            return [
                Part(str(nic.id), str(nic.name), machine)
                for nic in nics
                if (machine := self._naming.owner_of_part(str(nic.name)))
                and not (nic.extra or {}).get("virtualMachine")
            ]

    def destroy_part(self, part: str) -> None:
        """Remove an interface."""
        with self._translated("destroy part"):
            self._gone_is_good(lambda: self._driver.ex_destroy_nic(SimpleNamespace(id=part)))

    def keep_quiet_about(self, secrets: Collection[str]) -> None:
        """What is cut out of the texts of errors."""
        self._secrets = tuple(sorted((it for it in secrets if it), key=len, reverse=True))

    def _nodes(self, *, with_power: bool = False) -> list[Any]:
        """The nodes that carry our owner; on Azure whether each runs costs one more request."""
        key, owner = self._naming.owner_tag
        arguments: dict[str, Any] = {}
        if self._config.driver == "ec2" and self._dialect.token:
            arguments["ex_filters"] = {f"tag:{key}": owner}
        elif self._is_azure:
            arguments = {
                "ex_resource_group": self._config.options["ex_resource_group"],
                "ex_fetch_nic": False,
                "ex_fetch_power_state": with_power,
            }
        return [
            node
            for node in self._driver.list_nodes(**arguments)
            if self._naming.is_ours(str(node.name), self._tags_of(node))
        ]

    def _tags_of(self, node: Any) -> Mapping[str, str]:
        found = (node.extra or {}).get(self._dialect.tags_shown)
        return found if isinstance(found, dict) else {}

    def _machine_of(self, node: Any) -> Machine:
        ips = node.public_ips if self._config.address == "public" else node.private_ips
        return Machine(
            id=str(node.id),
            name=str(node.name),
            order=self._naming.order_of(str(node.name), self._tags_of(node)),
            state=state_of(self._dialect, str(node.state), node.extra or {}),
            ip=next((str(ip) for ip in ips or [] if ip), ""),
        )

    def _signal(self, machine: str, word: str) -> None:
        with self._translated(word.removesuffix("_node")):
            for node in self._nodes():
                if str(node.id) == machine:
                    try:
                        getattr(self._driver, word)(node)
                    except NotImplementedError:
                        raise CloudError(f"driver {self._config.driver} cannot do {word}") from None

    def _arguments(self, plan: MachinePlan) -> dict[str, Any]:
        """What `create_node` gets beside the name."""
        config, driver = self._config, self._driver
        arguments = creation_arguments(
            self._dialect, plan, config.options, is_public=config.address == "public"
        )
        for option, attribute in self._dialect.wrapped.items():
            if option in arguments:
                arguments[option] = _wrapped(arguments[option], attribute)
        arguments["size"] = NodeSize(config.size, config.size, 0, 0, 0, 0.0, driver)
        arguments["image"] = NodeImage(config.image, config.image, driver)
        if self._is_azure:
            location = NodeLocation(config.region, config.region, "", driver)
            arguments |= {"location": location, "auth": NodeAuthSSHKey(config.ssh_public_key)}
            gallery = gallery_parts(config.image)
            arguments["image"] = (
                AzureComputeGalleryImage(*gallery, driver)
                if gallery
                else driver.get_image(config.image, location)
            )
        elif config.driver == "gce":
            arguments |= {"size": config.size, "image": config.image, "location": config.zone}
        elif config.driver == "ec2" and config.zone:
            zone = ExEC2AvailabilityZone(config.zone, "available", config.region)
            arguments["location"] = EC2NodeLocation(config.zone, config.zone, "", driver, zone)
        elif config.zone:
            arguments["ex_availability_zone"] = config.zone
        return arguments

    def _gone_is_good(self, act: Callable[[], object]) -> None:
        """Do it; what is gone already is as wanted."""
        try:
            act()
        except BaseHTTPError as error:
            if error.code not in _GONE_CODES and "NotFound" not in str(error):
                raise

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Its errors as ours, by what can be done about them."""
        try:
            yield
        except CloudError:
            raise
        except Exception as error:  # noqa: BLE001 - libcloud raises the bare class, too
            raise translated(what, error, self._secrets) from None


def translated(what: str, error: Exception, secrets: Collection[str]) -> CloudError:
    """The error as ours: busy or refused."""
    text = " ".join(str(error).split()) or type(error).__name__
    for secret in secrets:
        text = text.replace(secret, "***")
    text = f"{what}: {type(error).__name__}: {text}"[:_TEXT_CHARACTERS_MAX]
    if isinstance(error, InvalidCredsError):
        return CloudError(text)
    code = error.code if isinstance(error, BaseHTTPError) else 0
    if isinstance(error, RateLimitReachedError) or code in _BUSY_CODES:
        return CloudAwayError(text, _retry_after(error))
    if isinstance(error, requests.ConnectionError | requests.Timeout | OSError) and not isinstance(
        error, requests.exceptions.InvalidURL
    ):
        return CloudAwayError(text)
    return CloudError(text)


def _retry_after(error: Exception) -> float:
    """Seconds that the cloud asks for; 0 if it does not."""
    headers = getattr(error, "headers", None) or {}
    try:
        return max(0.0, float(getattr(error, "retry_after", 0) or headers.get("retry-after", 0)))
    except ValueError:
        return 0.0


def _wrapped(value: Any, attribute: str) -> Any:
    """Ids as the objects that a driver wants, of which it reads one attribute."""
    if isinstance(value, list):
        return [_wrapped(item, attribute) for item in value]
    return SimpleNamespace(**{attribute: value})


def connect(config: CloudConfig, naming: Naming, read_credential: Callable[[str], str]) -> LibcloudMachines:
    """The machines of a pool, with a driver of its own; it may log in.

    Raises:
        CloudError: a credential is missing or refused.
        CloudAwayError: the cloud does not answer.
    """
    dialect = DIALECTS[config.driver]
    secrets = {key: read_credential(name) for key, name in config.credentials.items()}
    arguments: dict[str, Any] = {**config.driver_options, **secrets}
    if dialect.driver_region and config.region:
        arguments[dialect.driver_region] = config.region
    if dialect.driver_zone and config.zone:
        arguments[dialect.driver_zone] = config.zone
    if dialect.request_within_s:
        arguments["timeout"] = dialect.request_within_s
    try:
        driver = get_driver(config.driver)(**arguments)
    except Exception as error:  # noqa: BLE001 - whatever a driver raises, the credentials stay out of the log
        raise translated("log in", error, secrets.values()) from None
    if isinstance(driver, AzureNodeDriver):
        mend_azure(driver)
    machines = LibcloudMachines(driver, dialect, config, naming)
    machines.keep_quiet_about(secrets.values())
    return machines


def mend_azure(driver: AzureNodeDriver) -> None:
    """Its release 3.9.1 puts custom data as bytes into what becomes JSON, which Python's json refuses."""
    connection: Any = driver.connection
    connection.encode_data = lambda data: json.dumps(data, default=bytes.decode)
