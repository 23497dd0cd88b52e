"""The time line of one round: what stood on which topic how long after the kill."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench.scenarios import Timed
from sdk.contract.codec import DecodeError, Recorded, decode_orders, event_name
from sdk.contract.heartbeats import Beat, Hello, PoolReport, Report
from sdk.contract.orders import NodeOrders, Orders
from sdk.contract.topics import WIDE_PARTITIONS
from streams.local.rig import Rig
from streams.local.rig_log import Heard, Seen
from streams.log_source import Place, open_source

#: Before the kill and after the last first beat, ms.
_MARGIN_MS = 100
_WIDTH = 150


class Line(NamedTuple):
    """One record."""

    at_ms: int
    topic: str
    what: str


def print_trace(rig: Rig, timed: Timed, console: Console) -> None:
    """Print the time line of a round."""
    lines = sorted(_lines(rig, timed))
    table = Table(
        title=f"{timed.scenario}: {timed.node}", box=None, header_style="bold", title_justify="left"
    )
    for heading in ("MS", "STEP", "TOPIC", "WHAT"):
        table.add_column(heading, justify="right" if heading in {"MS", "STEP"} else "left")
    before = timed.stopped_at_ms
    for line in lines:
        table.add_row(str(line.at_ms - timed.stopped_at_ms), f"+{line.at_ms - before}", line.topic, line.what)
        before = line.at_ms
    # Wide enough for one line a record, wherever it goes.
    Console(file=console.file, width=max(console.width, _WIDTH), highlight=False).print(table)


def _lines(rig: Rig, timed: Timed) -> list[Line]:
    until_ms = timed.healed_at_ms + _MARGIN_MS
    found = [
        Line(seen.append_ms, "events", _event(seen))
        for seen in rig.events()
        if timed.stopped_at_ms <= seen.append_ms <= until_ms
    ]
    found += [
        Line(heard.append_ms, "heartbeats", text)
        for heard in rig.reports(timed.stopped_at_ms)
        if heard.append_ms <= until_ms and (text := _heard(heard))
    ]
    found += [
        Line(at_ms, "orders", _orders(orders))
        for at_ms, orders in asyncio.run(_read_orders(rig))
        if timed.stopped_at_ms <= at_ms <= until_ms
    ]
    return found


def _event(seen: Seen) -> str:
    if not isinstance(seen.said, Recorded):
        return "undecodable"
    event = seen.said.event
    subject = " ".join(
        str(value)
        for field in ("node", "app", "source", "pool", "replaces", "writer")
        if (value := getattr(event, field, "")) and isinstance(value, str)
    )
    dropped = f" DROPPED: {seen.outcome.dropped}" if seen.outcome.dropped else ""
    return f"{event_name(event)} {subject}{dropped}"


def _heard(heard: Heard) -> str:
    match heard.said:
        case Hello(reporter=reporter):
            return f"hello {reporter}"
        case PoolReport(nodes=nodes):
            return "pool report " + ", ".join(f"{it.node or it.order} {it.status}" for it in nodes)
        case Report(reporter=reporter, apps=apps):
            statuses = [it.status for it in apps]
            counts = ", ".join(f"{statuses.count(it)} {it}" for it in sorted(set(statuses)))
            return f"report {reporter}: {counts or 'no apps'}"
        case Beat():
            return ""


async def _read_orders(rig: Rig) -> list[tuple[int, Orders]]:
    """Orders with the clock of the worker that wrote them: this machine's, as the broker's."""
    found: list[tuple[int, Orders]] = []
    async with open_source(rig.bootstrap, rig.prefix) as source:
        places: list[Place] = [(source.topics.commands, number) for number in range(WIDE_PARTITIONS)]
        async for records in source.read(await source.begins(places), await source.ends(places)):
            for record in records:
                try:
                    found.append(
                        (record.timestamp, decode_orders((record.key or b"").decode(), record.value))
                    )
                except (DecodeError, UnicodeDecodeError):
                    continue
    return found


def _orders(orders: Orders) -> str:
    things = f"{len(orders.apps)} apps" if isinstance(orders, NodeOrders) else f"{len(orders.nodes)} nodes"
    return f"{orders.reporter}: {'ended, ' if orders.ended else ''}{things}, as of {orders.as_of}"
