"""The tables of the state by their names, with the types of their rows. Pure; part of `tables.state`."""

from typing import cast

from sdk.contract.policy import Policy
from tables.notification_rows import InboxRow, NotificationRow, SpeakerRow
from tables.rows import (
    ONLY,
    TABLES,
    AppRow,
    BindingRow,
    BrakeRow,
    CommandRow,
    DeviceRow,
    GrantRow,
    NodeRow,
    OrderRow,
    PauseRow,
    PolicyRow,
    PoolRow,
    Row,
    SensorLimitRow,
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
        self.tables: dict[str, dict[str, Row]] = {table: {} for table in TABLES}

    @property
    def nodes(self) -> dict[str, NodeRow]:
        """Nodes by id."""
        return cast("dict[str, NodeRow]", self.tables["nodes"])

    @property
    def orders(self) -> dict[str, OrderRow]:
        """Orders to pools by offset, as text."""
        return cast("dict[str, OrderRow]", self.tables["orders"])

    @property
    def pools(self) -> dict[str, PoolRow]:
        """Pools by id."""
        return cast("dict[str, PoolRow]", self.tables["pools"])

    @property
    def apps(self) -> dict[str, AppRow]:
        """Apps and services by id."""
        return cast("dict[str, AppRow]", self.tables["apps"])

    @property
    def grants(self) -> dict[str, GrantRow]:
        """Room that is waited for or kept, by the offset of its request, as text."""
        return cast("dict[str, GrantRow]", self.tables["grants"])

    @property
    def pauses(self) -> dict[str, PauseRow]:
        """Pauses of the watch by their subjects."""
        return cast("dict[str, PauseRow]", self.tables["pauses"])

    @property
    def sources(self) -> dict[str, SourceRow]:
        """Lone sources by id."""
        return cast("dict[str, SourceRow]", self.tables["sources"])

    @property
    def devices(self) -> dict[str, DeviceRow]:
        """Sensors and controllers by id."""
        return cast("dict[str, DeviceRow]", self.tables["devices"])

    @property
    def sensor_limits(self) -> dict[str, SensorLimitRow]:
        """How long sensors may be silent, by type."""
        return cast("dict[str, SensorLimitRow]", self.tables["sensor_limits"])

    @property
    def bindings(self) -> dict[str, BindingRow]:
        """Which devices an app has, by app."""
        return cast("dict[str, BindingRow]", self.tables["bindings"])

    @property
    def notifications(self) -> dict[str, NotificationRow]:
        """What apps tell people, by `<app>/<key>`."""
        return cast("dict[str, NotificationRow]", self.tables["notifications"])

    @property
    def speakers(self) -> dict[str, SpeakerRow]:
        """Apps that have notified, by id."""
        return cast("dict[str, SpeakerRow]", self.tables["speakers"])

    @property
    def inbox(self) -> InboxRow:
        """How far the notifications topic was read."""
        return cast("InboxRow", self.tables["inbox"].get(ONLY, _NOTHING_READ))

    @property
    def commands(self) -> dict[str, CommandRow]:
        """Commands to controllers by id: those in force, and the last that ended."""
        return cast("dict[str, CommandRow]", self.tables["commands"])

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.policy_row.policy

    @property
    def policy_row(self) -> PolicyRow:
        """The policy in force, with its offset."""
        row = self.tables["policy"].get(ONLY)
        return _BUILT_IN if row is None else cast("PolicyRow", row)

    @property
    def term(self) -> TermRow:
        """The planner in force."""
        return cast("TermRow", self.tables["term"].get(ONLY, _NO_TERM))

    @property
    def brake(self) -> BrakeRow:
        """The brake."""
        return cast("BrakeRow", self.tables["brake"].get(ONLY, _BRAKE_OFF))
