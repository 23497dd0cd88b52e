"""Provisioner, agents and apps as real processes on a real broker, with orders written by hand."""

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from agents import procfs
from sdk.contract.heartbeats import Hello, PoolReport, Report
from sdk.contract.ids import split_node_id
from sdk.contract.orders import AppOrder
from streams.local.broker import LocalBroker
from streams.topics import ensure_topics
from tests.agents.controller import APP, POOL, WITHIN_S, Controller, running_pool
from tests.agents.waiting import until
from tests.conftest import create_broker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def play(kafka: LocalBroker, folder: Path, act: Callable[[Controller], Awaitable[None]]) -> None:
    """Run `act` with a pool of its own under a prefix of its own."""
    prefix = f"t{uuid.uuid4().hex[:8]}"
    ensure_topics(kafka.bootstrap, prefix)

    async def run() -> None:
        async with running_pool(kafka.bootstrap, prefix, folder) as controller:
            await act(controller)

    asyncio.run(run())


def test_killed_agent_is_told_and_its_apps_are_gone(kafka: LocalBroker, tmp_path: Path) -> None:
    """After kill -9 of an agent its apps are dead when its exit is told; the next node has a higher port."""

    async def act(controller: Controller) -> None:
        hello = await controller.create_node()
        _, report = await controller.run_apps(hello)
        pid = await controller.pid_of(hello.order)
        os.kill(pid, signal.SIGKILL)
        told = await controller.exited_node(hello.order)
        assert not any(procfs.is_alive(e.pid, procfs.start_of(e.pid)) for e in report.apps)
        assert [(e.exit_code, e.reason) for e in told.nodes] == [(-9, "killed by signal 9")]
        controller.wishes.clear()
        again = await controller.create_node()
        assert split_node_id(again.reporter)[1] > split_node_id(hello.reporter)[1]
        await controller.run_apps(again)

    play(kafka, tmp_path, act)


def test_killed_app_is_told_and_not_restarted(kafka: LocalBroker, tmp_path: Path) -> None:
    """An app's exit is told with its code; its next generation starts when it is ordered."""

    async def act(controller: Controller) -> None:
        hello = await controller.create_node()
        orders, report = await controller.run_apps(hello, 1)
        os.kill(report.apps[0].pid, signal.SIGKILL)
        told = await controller.first(Report, lambda it: any(e.status == "exited" for e in it.apps))
        assert told.apps[0].exit_code == -9
        next_one = AppOrder("application-0", controller.next_offset(), APP)
        orders = await controller.order_apps(hello, [next_one], registration=orders.registration)
        await controller.running(orders)

    play(kafka, tmp_path, act)


def test_hanging_app_is_told_at_its_limit_and_killed(kafka: LocalBroker, tmp_path: Path) -> None:
    """An app that stops beating is reported when its age reaches the limit, and killed when orders say so."""

    async def act(controller: Controller) -> None:
        hello = await controller.create_node()
        wish = AppOrder("application-0", controller.next_offset(), APP, {"BEAT_EVERY_S": "0.2"})
        orders = await controller.order_apps(hello, [wish], silence_limit_ms=1_000)
        report = await controller.running(orders)
        os.kill(report.apps[0].pid, signal.SIGUSR1)
        late = await controller.first(Report, lambda it: any(e.age_ms >= 1_000 for e in it.apps))
        assert 1_000 <= late.apps[0].age_ms < 1_500
        doomed = AppOrder("application-0", wish.generation, APP, kill=True)
        await controller.order_apps(hello, [doomed], registration=orders.registration)
        told = await controller.first(Report, lambda it: any(e.status == "exited" for e in it.apps))
        assert told.apps[0].exit_code == -9

    play(kafka, tmp_path, act)


def test_orderly_stop_and_start_bring_back_the_same_nodes(kafka: LocalBroker, tmp_path: Path) -> None:
    """Stopped and started, the same nodes come back, name their old registrations and run the same copies."""

    async def act(controller: Controller) -> None:
        hellos = [await controller.create_node() for _ in range(2)]
        ordered = [await controller.run_apps(hello, 1) for hello in hellos]
        assert await controller.stop_pool() == 0
        assert controller.processes() == []
        assert not any(
            e.status == "exited" for it in controller.heard if isinstance(it, Report) for e in it.apps
        )
        since = len(controller.heard)
        controller.start_pool()
        await controller.register_pool(since=since)
        for hello, (orders, _) in zip(hellos, ordered, strict=True):
            back = await controller.first(Hello, lambda it, old=hello: it.order == old.order, since=since)  # type: ignore[misc]
            assert (back.reporter, back.registration) == (hello.reporter, orders.registration)
            again = await controller.order_apps(back, orders.apps)
            await controller.running(again, since=since)

    play(kafka, tmp_path, act)


def test_killed_provisioner_adopts_its_nodes(kafka: LocalBroker, tmp_path: Path) -> None:
    """After kill -9 of the provisioner its nodes go on; started again it adopts them and tells who died."""

    async def act(controller: Controller) -> None:
        hellos = [await controller.create_node() for _ in range(2)]
        ran = [await controller.run_apps(hello, 1) for hello in hellos]
        pids = [await controller.pid_of(hello.order) for hello in hellos]
        await controller.stop_pool(signal.SIGKILL)
        os.kill(pids[0], signal.SIGKILL)
        since = len(controller.heard)
        controller.start_pool()
        await controller.register_pool(since=since)
        told = await controller.exited_node(hellos[0].order, since=since)
        assert {e.order: e.status for e in told.nodes}[hellos[1].order] in ("starting", "running")
        assert await controller.pid_of(hellos[1].order) == pids[1]
        entry = ran[0][1].apps[0]
        assert not procfs.is_alive(entry.pid, procfs.start_of(entry.pid))
        entry = ran[1][1].apps[0]
        assert procfs.is_alive(entry.pid, procfs.start_of(entry.pid))

    play(kafka, tmp_path, act)


def test_woken_node_stops_its_copies_and_registers_anew(kafka: LocalBroker, tmp_path: Path) -> None:
    """A node that slept through the end of its registration kills its copies and asks again as a free one."""

    async def act(controller: Controller) -> None:
        hello = await controller.create_node()
        orders, report = await controller.run_apps(hello)
        pid = await controller.pid_of(hello.order)
        os.killpg(pid, signal.SIGSTOP)
        since = len(controller.heard)
        await controller.order_apps(hello, [], registration=orders.registration, ended=True)
        os.killpg(pid, signal.SIGCONT)
        back = await controller.first(
            Hello, lambda it: it.order == hello.order and it.claim != hello.claim, since=since
        )
        assert back.registration == orders.registration
        await until(lambda: not any(procfs.is_alive(e.pid, procfs.start_of(e.pid)) for e in report.apps))
        again = await controller.order_apps(back, [])
        free = await controller.first(Report, lambda it: it.registration == again.registration)
        assert free.apps == []

    play(kafka, tmp_path, act)


def test_stopped_node_is_destroyed_when_not_ordered(kafka: LocalBroker, tmp_path: Path) -> None:
    """A node under SIGSTOP that orders no longer name is gone, with its apps, when that is told."""

    async def act(controller: Controller) -> None:
        hello = await controller.create_node()
        _, report = await controller.run_apps(hello)
        pid = await controller.pid_of(hello.order)
        os.killpg(pid, signal.SIGSTOP)
        controller.wishes.clear()
        await controller.order_nodes()
        await controller.exited_node(hello.order)
        assert not any(procfs.is_alive(it, procfs.start_of(it)) for it in (pid, report.apps[0].pid))
        await controller.first(PoolReport, lambda it: it.nodes == [], since=len(controller.heard))

    play(kafka, tmp_path, act)


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_outage_of_the_broker_ends_nothing(tmp_path: Path, how: str) -> None:
    """While the broker is away apps go on; reports and orders pass again soon after it is back."""
    broker = create_broker(tmp_path / "kafka")
    broker.start()

    async def act(controller: Controller) -> None:
        hello = await controller.create_node()
        orders, report = await controller.run_apps(hello)
        before = {who: controller.last_number(who) for who in (hello.reporter, POOL)}
        if how == "killed":
            broker.kill()
            await controller.disconnect()
            await asyncio.to_thread(broker.start)
            await controller.connect()
        else:
            broker.pause()
            # Longer than a request may hang, so that clients are replaced: the length of the pause is the scenario.
            over_s = asyncio.get_running_loop().time() + 5
            await until(lambda: asyncio.get_running_loop().time() >= over_s, within_s=WITHIN_S)
            broker.resume()
        back = asyncio.get_running_loop().time()
        for who, number in before.items():
            # One more may have been under way when the broker went.
            await until(partial(controller.has_heard, who, number + 2), within_s=WITHIN_S)
        assert asyncio.get_running_loop().time() - back < 6.5
        since = len(controller.heard)
        assert all(procfs.is_alive(e.pid, procfs.start_of(e.pid)) for e in report.apps)
        fewer = await controller.order_apps(hello, orders.apps[:1], registration=orders.registration)
        await controller.running(fewer, since=since)

    try:
        (tmp_path / "pool").mkdir()
        play(broker, tmp_path / "pool", act)
    finally:
        broker.stop()
