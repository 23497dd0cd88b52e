"""The node agent: runs apps, takes their beats, reports, obeys. `python -m agents.node --config FILE`."""

import asyncio
import logging
import sys
from functools import partial
from pathlib import Path

from agents import inputs as i
from agents.cgroups import find_cgroups
from agents.check_book import CheckBook
from agents.checks import Checks
from agents.disk import DirectoryLock, InUseError, home_of, read_record
from agents.door import Door
from agents.driver import Driver, StartError
from agents.drivers import AppHands
from agents.endpoint import Answers, Endpoint
from agents.entry import boot_id, config_path, describe, name_process, on_stop, set_up_log
from agents.exec_door import ExecDoor
from agents.execution import Execution
from agents.limits import Limits
from agents.link import Link
from agents.machine import read_capacity, read_usage
from agents.node_bounds import bound_node, offered
from agents.own_address import with_address
from agents.process_driver import ProcessDriver
from agents.settings import NodeConfig, read_config
from agents.shell import Shell
from agents.state import Identity, Image, first_state, is_beat_welcome
from agents.topic_reader import TopicReader
from sdk.contract.frames import Terminal
from sdk.contract.ids import node_id, pool_id
from sdk.contract.topics import Topics

log = logging.getLogger("watchkeep.node")


async def run_node(config: NodeConfig) -> None:
    """Be the node until told to stop."""
    directory = Path(config.directory)
    node = node_id(config.ip, config.port)
    listen_ip = config.listen_ip or config.ip
    door = Door(listen_ip, config.port)
    book = CheckBook(directory / "checks.json", ip=listen_ip)
    home = home_of(directory)
    bounded = bound_node(home, config.bounds, find_cgroups())
    limits = Limits(home, bounded.groups, whole=bounded.words, nested=bounded.is_grouped)
    capacity = offered(read_capacity(), config.bounds)
    hands = AppHands(
        await create_drivers(config, node, directory, door, limits),
        secrets=Path(config.secrets or directory / "secrets"),
        checks=book,
    )
    identity = Identity(
        kind="node",
        reporter=node,
        order=config.order,
        ip=config.ip,
        port=config.port,
        pool=pool_id(config.pool),
        slots=config.slots,
        drivers=hands.names,
        boot_id=boot_id(),
    )
    image_path = directory / "runner.json"
    early: list[i.Input] = []
    hands.on_exit = lambda app, generation, code, why: early.append(i.Exited(app, generation, code, why))
    state = first_state(identity, read_record(image_path, Image, Image()), await hands.adopt())
    shell = Shell(state, hands, image_path, limits=limits.words, capacity=capacity)
    hands.on_exit = lambda app, generation, code, why: shell.feed(i.Exited(app, generation, code, why))
    for item in early:
        shell.feed(item)
    link = Link(
        config.bootstrap,
        Topics(config.prefix),
        node,
        on_sent=shell.note_sent,
        on_orders=lambda orders: shell.feed(i.OrdersRead(orders)),
        on_caught_up=lambda: shell.feed(i.CaughtUp()),
    )
    topics = TopicReader(config.bootstrap, node, state=lambda: shell.state, feed=shell.feed)
    checks = Checks(
        book,
        things=lambda: list(shell.state.things.values()),
        feed=shell.feed,
        address_of=lambda app, generation: hands.address_of(app, generation) or listen_ip,
    )
    answers = _answers(shell, link, hands, checks)
    token = Path(config.exec_token) if config.exec_token else None
    endpoint = Endpoint(answers._replace(exec_door=ExecDoor(token, partial(_execute, shell, hands))))
    await endpoint.listen(listen_ip, config.port)
    await door.open(endpoint)
    on_stop(lambda: shell.feed(i.StopAsked()))
    log.info("%s begins, %d slots, order %d", describe(identity), config.slots, config.order)
    log.info("limits of apps: %s", limits.words)
    checking = asyncio.ensure_future(checks.run())
    shell.fail_with(checking)
    try:
        await shell.run(link)
    finally:
        checking.cancel()
        await endpoint.close()
        await topics.close()
        await link.close()
    log.info("%s ends, everything stopped", describe(identity))


async def create_drivers(
    config: NodeConfig, node: str, directory: Path, door: Door, limits: Limits
) -> list[Driver]:
    """The drivers that this node can serve with; docker only if it is configured and its daemon answers."""
    # What the SDK asks for, so that an app which is a deployer needs no arguments either.
    platform = {"KAFKA_BOOTSTRAP_SERVERS": config.bootstrap, "WATCHKEEP_PREFIX": config.prefix}
    drivers: list[Driver] = [
        ProcessDriver(
            directory,
            node=node,
            agent_url=door.url,
            limits=limits,
            platform=platform,
            outlives_agent=config.is_replaced,
        )
    ]
    if config.docker is not None:
        # Loaded only where it is used: an agent's start is measured.
        from agents.docker_node import create_docker_driver

        docker = await create_docker_driver(config, node, directory, door)
        drivers += [docker] if docker is not None else []
    return drivers


async def _execute(
    shell: Shell, hands: AppHands, app: str, command: list[str], terminal: Terminal | None
) -> Execution:
    """Run a command beside an app; StartError if it does not run here or the command cannot be started."""
    thing = shell.state.things.get(app)
    if thing is None or not thing.is_alive:
        raise StartError(f"{app} does not run here")
    return await hands.execute(app, thing.epoch, command, terminal)


def _answers(shell: Shell, link: Link, hands: AppHands, checks: Checks) -> Answers:
    """The endpoint's view of the agent."""

    def take_beat(app: str, generation: int) -> bool:
        if not is_beat_welcome(shell.state, app, generation):
            return False
        checks.take_beat(app, generation, asyncio.get_running_loop().time())
        return True

    machine = read_capacity()

    def health() -> object:
        state = shell.state
        return {
            "node": state.identity.reporter,
            "registered": state.is_registered,
            "registration": state.registration,
            "as_of": state.as_of,
            "kafka": not link.is_away,
            "undecodable": link.undecodable,
            **read_usage(machine)._asdict(),
        }

    def apps() -> object:
        return [
            {"app": thing.key, "generation": thing.epoch, "status": thing.status, "pid": thing.pid}
            for thing in shell.state.things.values()
        ]

    return Answers(take_beat, health, apps, hands.log_tail)


def main(argv: list[str]) -> None:
    """Run a node agent."""
    run_from(config_path(argv, program="agents.node"))


def run_from(path: str) -> None:
    """Run a node agent with the configuration at `path`."""
    config = read_config(path, NodeConfig)
    name_process(f"node-{config.port}")
    set_up_log(config.log_level)
    try:
        DirectoryLock(Path(config.directory))
        config = with_address(config)
        asyncio.run(run_node(config))
    except (InUseError, OSError) as error:
        raise SystemExit(f"node agent {config.ip}:{config.port}: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
