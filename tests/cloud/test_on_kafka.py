"""A provisioner of cloud machines on a real broker: made, registered, adopted after a restart, destroyed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents import provisioner
from agents.settings import PoolConfig
from agents.spawner import TemplateSpawner
from sdk.contract.heartbeats import PoolReport, Report
from sdk.contract.ids import split_node_id
from streams.local.broker import LocalBroker
from streams.topics import ensure_topics
from tests.agents.controller import WITHIN_S, Controller
from tests.agents.waiting import until
from tests.cloud.local import LocalCloud, local_pool

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


@contextlib.asynccontextmanager
async def provisioning(config: PoolConfig, *, orderly: bool) -> AsyncIterator[None]:
    """A provisioner in this process, whose cloud outlives it; at the end it is stopped, or just gone."""
    # There is no template to fork from: machines start their agents themselves.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    running = asyncio.ensure_future(provisioner.run_pool(config, TemplateSpawner((0, ours))))
    try:
        yield
        if orderly:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(running, WITHIN_S)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        theirs.close()


def test_machine_is_made_registers_is_adopted_and_destroyed(
    kafka: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole life of a node, with its apps, over three lives of its provisioner."""
    prefix = f"t{uuid.uuid4().hex[:8]}"
    ensure_topics(kafka.bootstrap, prefix)
    config = replace(local_pool(tmp_path / "data"), bootstrap=kafka.bootstrap, prefix=prefix)
    cloud = LocalCloud(tmp_path / "machines")
    monkeypatch.setattr(provisioner, "create_provider", lambda config, _: cloud.provider(config))

    async def run() -> None:
        controller = Controller(kafka.bootstrap, prefix, tmp_path)
        await controller.connect()
        try:
            async with provisioning(config, orderly=False):
                await controller.register_pool()
                hello = await controller.create_node()
                assert split_node_id(hello.reporter) == ("127.0.1.1", hello.port)
                orders, _ = await controller.run_apps(hello, 1)
                await controller.first(PoolReport, lambda it: [e.status for e in it.nodes] == ["running"])
            since = len(controller.heard)
            async with provisioning(config, orderly=True):
                await controller.register_pool(since=since)
                adopted = await controller.first(PoolReport, lambda it: bool(it.nodes), since=since)
                assert [(e.order, e.node) for e in adopted.nodes] == [(hello.order, hello.reporter)]
                await controller.first(Report, lambda it: it.registration == orders.registration, since=since)
            await until(lambda: not cloud.is_running(cloud.names()[0]))
            since = len(controller.heard)
            async with provisioning(config, orderly=False):
                await controller.register_pool(since=since)
                await controller.first(
                    PoolReport, lambda it: [e.status for e in it.nodes] == ["running"], since=since
                )
                controller.wishes.clear()
                await controller.order_nodes()
                await controller.exited_node(hello.order, since=since)
                assert cloud.names() == []
        finally:
            await controller.disconnect()
            cloud.close()

    asyncio.run(run())
    assert cloud.made == 1
