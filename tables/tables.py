"""The tables of the state by their names, with the types of their rows. Pure; part of `tables.state`."""

from typing import cast

from sdk.contract.policy import Policy
from tables.device_rows import BindingRow, CommandRow, DeviceRow, SensorLimitRow
from tables.notification_rows import InboxRow, NotificationRow, SpeakerRow
from tables.rows import (
    ONLY,
    TABLES,
    AppRow,
    BrakeRow,
    GrantRow,
    NodeRow,
    OrderRow,
    PauseRow,
    PolicyRow,
    PoolRow,
    Row,
    SourceRow,
    TermRow,
)

_BUILT_IN = PolicyRow(Policy())
_NO_TERM = TermRow()
_BRAKE_OFF = BrakeRow()
_NOTHING_READ = InboxRow()


class Tables:
    """Every table by its name; only `State` changes them."""

    def __init__(self) -> None:
        #: Every table under its name. The dicts are never replaced, so the attributes below stay the same ones.
        self.tables: dict[str, dict[str, Row]] = {table: {} for table in TABLES}
        #: Nodes by id.
        self.nodes = cast("dict[str, NodeRow]", self.tables["nodes"])
        #: Orders to pools by offset, as text.
        self.orders = cast("dict[str, OrderRow]", self.tables["orders"])
        #: Pools by id.
        self.pools = cast("dict[str, PoolRow]", self.tables["pools"])
        #: Apps and services by id.
        self.apps = cast("dict[str, AppRow]", self.tables["apps"])
        #: Room that is waited for or kept, by the offset of its request, as text.
        self.grants = cast("dict[str, GrantRow]", self.tables["grants"])
        #: Pauses of the watch by their subjects.
        self.pauses = cast("dict[str, PauseRow]", self.tables["pauses"])
        #: Lone sources by id.
        self.sources = cast("dict[str, SourceRow]", self.tables["sources"])
        #: Sensors and controllers by id.
        self.devices = cast("dict[str, DeviceRow]", self.tables["devices"])
        #: Which devices an app has, by app.
        self.bindings = cast("dict[str, BindingRow]", self.tables["bindings"])
        #: How long sensors may be silent, by type.
        self.sensor_limits = cast("dict[str, SensorLimitRow]", self.tables["sensor_limits"])
        #: Commands to controllers by id: those in force, and the last that ended.
        self.commands = cast("dict[str, CommandRow]", self.tables["commands"])
        #: What apps tell people, by `<app>/<key>`.
        self.notifications = cast("dict[str, NotificationRow]", self.tables["notifications"])
        #: Apps that have notified, by id.
        self.speakers = cast("dict[str, SpeakerRow]", self.tables["speakers"])

    @property
    def inbox(self) -> InboxRow:
        """How far the notifications topic was read."""
        return cast("InboxRow", self.tables["inbox"].get(ONLY, _NOTHING_READ))

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.policy_row.policy

    @property
    def policy_row(self) -> PolicyRow:
        """The policy in force, with its offset."""
        return self.tables["policy"].get(ONLY, _BUILT_IN)  # type: ignore[return-value]  # the table has no others

    @property
    def term(self) -> TermRow:
        """The planner in force."""
        return self.tables["term"].get(ONLY, _NO_TERM)  # type: ignore[return-value]  # see above

    @property
    def brake(self) -> BrakeRow:
        """The brake."""
        return self.tables["brake"].get(ONLY, _BRAKE_OFF)  # type: ignore[return-value]  # see above
