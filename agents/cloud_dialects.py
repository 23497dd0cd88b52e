"""How libcloud's drivers differ: the arguments of each, as one table. Pure.

`create_node` takes name, size and image everywhere; user data, tags, the public address and what makes a repeated call
harmless have another name in each driver. `tests/cloud/test_dialects.py` compares the names with libcloud's own.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from agents.machines import MachinePlan

#: What a machine is to us, by the driver's word for it. What is in neither table is on its way.
MachineState = Literal["coming", "running", "stopped", "failed", "gone"]
STATES: dict[str, MachineState] = {
    "running": "running",
    "normal": "running",
    "stopped": "stopped",
    "suspended": "stopped",
    "paused": "stopped",
    "error": "failed",
    "terminated": "gone",
}

_METADATA = "http://169.254.169.254/"


class Dialect(NamedTuple):
    """What is particular to a driver."""

    #: `create_node` takes it as text, as bytes, or as an item of the tags-like argument under this key.
    user_data: str
    tags: str
    #: Key of the tags in what the driver tells of a machine.
    tags_shown: str
    #: Prints the public address inside a machine.
    public_ip: str
    #: Fields of CloudConfig and keys of its `options` and `driver_options` that must be there.
    needs: tuple[str, ...] = ()
    needs_options: tuple[str, ...] = ()
    needs_driver_options: tuple[str, ...] = ()
    #: Arguments of the driver itself that come from region and zone.
    driver_region: str = ""
    driver_zone: str = ""
    credentials: tuple[str, ...] = ("key", "secret")
    #: Whether user data is bytes.
    is_bytes: bool = False
    #: Key of the user data inside an argument that is a dictionary.
    user_data_key: str = ""
    #: Argument that makes a second call with the same name harmless; empty: the name itself does, or nothing.
    token: str = ""
    #: Added to `options` where they say nothing else.
    defaults: Mapping[str, Any] = {}
    #: The same, of machines that are to have a public address.
    public: Mapping[str, Any] = {}
    has_public: bool = True
    #: Options that are wanted as objects with this attribute, and not as the text that names them.
    wrapped: Mapping[str, str] = {}
    #: Options beside those that begin with `ex_`.
    plain_options: tuple[str, ...] = ()
    #: The cloud's own word for the state, where libcloud forgets it, and what it means.
    state_shown: str = ""
    states: Mapping[str, MachineState] = {}
    #: Bound of one request; 0: the driver uses the same number for waiting for a whole operation, so it stays.
    request_within_s: int = 30


DIALECTS: dict[str, Dialect] = {
    "azure_arm": Dialect(
        user_data="ex_customdata",
        is_bytes=True,
        tags="ex_tags",
        tags_shown="tags",
        public_ip=f"curl -fsS -H Metadata:true '{_METADATA}metadata/instance/network/interface/0/ipv4/ipAddress/0"
        "/publicIpAddress?api-version=2021-02-01&format=text'",
        credentials=("tenant_id", "subscription_id", "key", "secret"),
        needs=("region", "ssh_public_key"),
        needs_options=("ex_resource_group", "ex_network"),
        # Managed disks that go with their machine; the other kind needs a storage account.
        defaults={"ex_use_managed_disks": True, "ex_os_disk_delete": True},
        # libcloud makes the network interface by itself, and never with a public address.
        has_public=False,
    ),
    "ec2": Dialect(
        user_data="ex_userdata",
        tags="ex_metadata",
        tags_shown="tags",
        token="ex_clienttoken",  # noqa: S106 - the name of an argument
        public_ip="token=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "
        f'{_METADATA}latest/api/token) && curl -fsS -H "X-aws-ec2-metadata-token: $token" '
        f"{_METADATA}latest/meta-data/public-ipv4",
        needs=("region",),
        driver_region="region",
        public={"ex_assign_public_ip": True},
        wrapped={"ex_subnet": "id"},
        state_shown="status",
        states={"stopping": "coming", "stopped": "stopped", "shutting-down": "coming"},
    ),
    "gce": Dialect(
        user_data="ex_metadata",
        user_data_key="user-data",
        tags="ex_labels",
        tags_shown="labels",
        public_ip="curl -fsS -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/instance"
        "/network-interfaces/0/access-configs/0/external-ip",
        credentials=("user_id", "key"),
        needs=("zone",),
        needs_driver_options=("project",),
        driver_zone="datacenter",
        defaults={"external_ip": None},
        public={"external_ip": "ephemeral"},
        plain_options=("external_ip", "internal_ip"),
        # libcloud has one number for a request and for a whole operation, 180 s.
        request_within_s=0,
    ),
    "openstack": Dialect(
        user_data="ex_userdata",
        tags="ex_metadata",
        tags_shown="metadata",
        public_ip=f"curl -fsS {_METADATA}latest/meta-data/public-ipv4",
        needs_driver_options=("ex_force_auth_url",),
        driver_region="ex_force_service_region",
        wrapped={"networks": "id", "ex_security_groups": "name"},
        plain_options=("networks",),
    ),
}


def taken_arguments(dialect: Dialect) -> set[str]:
    """The arguments of `create_node` that are ours to set."""
    return {"name", "size", "image", "location", "auth", dialect.user_data, dialect.tags, dialect.token} - {
        ""
    }


def creation_arguments(
    dialect: Dialect, plan: MachinePlan, options: Mapping[str, Any], *, is_public: bool
) -> dict[str, Any]:
    """What `create_node` gets beside name, size, image, location and auth; texts are not wrapped yet."""
    arguments = {**dialect.defaults, **(dialect.public if is_public else {}), **options}
    data: Any = plan.user_data.encode() if dialect.is_bytes else plan.user_data
    arguments[dialect.user_data] = {dialect.user_data_key: data} if dialect.user_data_key else data
    arguments[dialect.tags] = dict(plan.tags)
    if dialect.token:
        arguments[dialect.token] = plan.name
    return arguments


def state_of(dialect: Dialect, state: str, shown: Mapping[str, Any]) -> MachineState:
    """What a machine is to us, from libcloud's word and the cloud's own."""
    own = dialect.states.get(str(shown.get(dialect.state_shown, "")))
    return own or STATES.get(state, "coming")
