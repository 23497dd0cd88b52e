"""`create_app(settings)`: the Faust application of one worker. Shell."""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
from faust.transport.drivers import TRANSPORTS
from faust.utils.terminal import SpinnerHandler
from mode import Service

from sdk.contract.topics import VIEW_TABLES, Topics
from streams.core.core import Core
from streams.core.handover import Handover
from streams.faust_fixes import LoopGuard, SafeTopic
from streams.processors import ViewWriter, admit_requests, watch_pace, write_views
from streams.settings import Settings

#: Name under which our transport stands in broker URLs.
_SCHEME = "watchkeep"
#: Rows may be written in one go: Faust stops delivering when more than this wait for the producer.
_PRODUCER_BUFFER_MAX = 20_000
#: Of one partition and fetch. What one fetch brought Faust delivers record by record, each in a turn of its loop, and
#: only then asks again: some hundred a second while the core has much to do. Its default of 1 MiB is thousands of
#: requests, for which the events wait (20 s were seen in bench.planner); 64 KiB are about 200 records.
_FETCH_BYTES = 64 << 10
#: Rows wait so long for others, s: in a flood a request to the broker for every few of them costs more than they do.
_LINGER_S = 0.005
#: Records of a topic that Faust takes in before they are handled. At 80 % it stops asking for that topic, and the rest
#: takes what two fetches have brought already: when that is full too it stands still. Events wait while requests are
#: taken in, some hundred a second under load: with 65,536 a flood of 10,000 requests held them up for 30 s.
_STREAM_MAX = 4_096
#: Per table and partition; Faust's default is a cache of 2 GiB and 90 % of all file handles.
_ROCKSDB = {"block_cache_size": 8 << 20, "write_buffer_size": 4 << 20, "max_open_files": 64}


#: How long a thread may keep the interpreter while another waits for it, s. Each poll of an event loop gives the
#: interpreter away, and Faust's loop needs several to deliver one record: beside a core that folds and decides without
#: a pause they took 5 ms each (Python's own value), 10 to 50 records a second.
_SWITCH_S = 0.0005


class _CoreService(Service):
    """The core thread as a service that Faust starts before it joins its group, and stops."""

    def __init__(self, app: "_App", **options: Any) -> None:
        super().__init__(**options)
        self._core = app.core
        self._app = app

    async def on_start(self) -> None:
        sys.setswitchinterval(_SWITCH_S)
        # Not a task of the app: those begin when the tables are recovered, long after the group was joined.
        self.add_future(self._app.guard.run())
        self._core.start(Path(self._app.conf.datadir))

    async def on_stop(self) -> None:
        await asyncio.to_thread(self._core.stop)


class _App(faust.App):
    """A Faust app that brings its core."""

    core: Core
    guard: LoopGuard
    #: Called with the partitions that Faust is about to give up.
    before_revoked: Callable[[Any], Awaitable[None]]

    async def _on_partitions_revoked(self, revoked: Any) -> None:
        """Give up the claim first: Faust's own steps, flushing its producer above all, may take seconds."""
        await self.before_revoked(revoked)
        await super()._on_partitions_revoked(revoked)

    def on_init_dependencies(self) -> list[Any]:
        """Start the core with the app: `@app.service` would wait for the first table recovery."""
        _make_no_unseen_logs()
        # First of all: Faust's table manager sleeps a whole second when it starts, and what follows waits for it.
        return [_CoreService(self), *super().on_init_dependencies()]


def _make_no_unseen_logs() -> None:
    """Let no text be made of each record that is sent, unless it is shown.

    For the sake of its spinner Faust has all loggers make everything: a tenth of the time in which rows are written.
    """
    shown = [each.level for each in logging.getLogger().handlers if not isinstance(each, SpinnerHandler)]
    logging.getLogger("faust.topics").setLevel(min(shown, default=logging.NOTSET))


def create_app(settings: Settings) -> faust.App:
    """The application that `faust -A streams.app worker` runs; opens nothing before it is started."""
    TRANSPORTS.aliases[_SCHEME] = "streams.faust_fixes:SafeTransport"
    topics = Topics(settings.prefix)
    name = os.environ.get("WATCHKEEP_WORKER_NAME", "worker-1")
    session_s = settings.faust_session_timeout_s
    app = _App(
        settings.prefix,
        broker=";".join(f"{_SCHEME}://{server}" for server in settings.bootstrap.split(",")),
        store="rocksdb://",
        Topic=SafeTopic,
        datadir=os.environ.get("FAUST_DATADIR") or str(settings.data_path / name),
        processing_guarantee="at_least_once",
        topic_partitions=1,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=1,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=settings.faust_heartbeat_s,
        broker_request_timeout=max(30.0, session_s),
        broker_rebalance_timeout=max(6.0, session_s),
        broker_commit_interval=1.0,
        # Else Faust's fetcher itself commits after 10,000 records, and delivers nothing until that is done.
        broker_commit_every=1 << 30,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=_FETCH_BYTES,
        stream_buffer_maxsize=_STREAM_MAX,
        # A request that waits for leadership must not hold up the rebalance that decides who leads.
        stream_wait_empty=False,
        producer_linger=_LINGER_S,
        producer_request_timeout=60.0,
        web_enabled=False,
        web_bind="127.0.0.1",
        web_tables_enabled=False,
        web_router_enabled=False,
    )
    handover = Handover()
    app.core = Core(
        bootstrap=settings.bootstrap,
        prefix=settings.prefix,
        name=name,
        handover=handover,
    )
    app.guard = LoopGuard(stand_still_max_s=session_s / 2, armed=handover.is_owner)
    tables = {table: _create_table(app, table) for table in VIEW_TABLES}
    _register(app, topics, ViewWriter(app, tables, handover, app.guard))
    return app


def _create_table(app: faust.App, name: str) -> Any:
    return app.Table(
        name,
        key_type=bytes,
        value_type=bytes,
        partitions=1,
        options={"driver": "rocksdict", **_ROCKSDB},
    )


def _register(app: Any, topics: Topics, writer: ViewWriter) -> None:
    """Register the processors, the owner's signals and the small tasks."""
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    requests = app.topic(topics.requests, partitions=1, **raw)
    events = app.topic(topics.events, partitions=1, **raw)

    async def _requests(stream: Any) -> None:
        await admit_requests(stream, app.core)

    async def _views(stream: Any) -> None:
        await write_views(stream, writer, app.core.pace)

    async def _assigned(_app: Any, assigned: Any, **_: Any) -> None:
        owns = any(tp.topic == topics.requests for tp in assigned)
        await asyncio.to_thread(app.core.owner_changed, owns=owns, may_claim=owns)
        writer.handover.set_owner(owns)

    async def _revoked(revoked: Any) -> None:
        if any(tp.topic == topics.requests for tp in revoked):
            await asyncio.to_thread(app.core.owner_changed, owns=True, may_claim=False)
            writer.handover.set_owner(False)

    async def _repair() -> None:
        app.producer.buffer.max_messages = _PRODUCER_BUFFER_MAX
        await writer.repair(topics.events)

    async def _watch() -> None:
        await watch_pace(app, app.core.pace, writer.handover.is_owner)

    app.agent(requests, name="requests")(_requests)
    app.agent(events, name="views")(_views)
    app.on_partitions_assigned.connect(_assigned)
    app.before_revoked = _revoked
    app.task(_repair)
    app.task(_watch)
