"""The node agent: runs apps, takes their beats, reports, obeys. `python -m agents.node --config FILE`."""

import asyncio
import logging
import os
import sys
from pathlib import Path

from agents import inputs as i
from agents.disk import DirectoryLock, InUseError, read_record
from agents.door import Door
from agents.driver import Driver
from agents.drivers import AppHands
from agents.endpoint import Answers, Endpoint
from agents.entry import boot_id, config_path, describe, name_process, on_stop, set_up_log
from agents.link import Link
from agents.process_driver import ProcessDriver
from agents.settings import NodeConfig, read_config
from agents.shell import Shell
from agents.state import Identity, Image, first_state, is_beat_welcome
from sdk.contract.ids import node_id, pool_id
from sdk.contract.topics import Topics

log = logging.getLogger("watchkeep.node")


async def run_node(config: NodeConfig) -> None:
    """Be the node until told to stop."""
    directory = Path(config.directory)
    node = node_id(config.ip, config.port)
    door = Door(config.ip, config.port)
    hands = AppHands(
        await create_drivers(config, node, directory, door),
        secrets=Path(config.secrets or directory / "secrets"),
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
    shell = Shell(state, hands, image_path)
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
    endpoint = Endpoint(_answers(shell, link, hands))
    await endpoint.listen(config.ip, config.port)
    await door.open(endpoint)
    on_stop(lambda: shell.feed(i.StopAsked()))
    log.info("%s begins, %d slots, order %d", describe(identity), config.slots, config.order)
    try:
        await shell.run(link)
    finally:
        await endpoint.close()
        await link.close()
    log.info("%s ends, everything stopped", describe(identity))


async def create_drivers(config: NodeConfig, node: str, directory: Path, door: Door) -> list[Driver]:
    """The drivers that this node can serve with; docker only if it is configured and its daemon answers."""
    drivers: list[Driver] = [ProcessDriver(directory, node=node, agent_url=door.url)]
    if config.docker is not None:
        # Loaded only where it is used: an agent's start is measured.
        from agents.docker_node import create_docker_driver

        docker = await create_docker_driver(config, node, directory, door)
        drivers += [docker] if docker is not None else []
    return drivers


def _answers(shell: Shell, link: Link, hands: AppHands) -> Answers:
    """The endpoint's view of the agent."""

    def take_beat(app: str, generation: int) -> bool:
        if not is_beat_welcome(shell.state, app, generation):
            return False
        shell.feed(i.Beaten(app, generation))
        return True

    def health() -> object:
        state = shell.state
        return {
            "node": state.identity.reporter,
            "registered": state.is_registered,
            "registration": state.registration,
            "as_of": state.as_of,
            "kafka": not link.is_away,
            "undecodable": link.undecodable,
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
    # For its apps: what the SDK takes from the environment to find Kafka.
    os.environ.update({"KAFKA_BOOTSTRAP_SERVERS": config.bootstrap, "WATCHKEEP_PREFIX": config.prefix})
    try:
        DirectoryLock(Path(config.directory))
        asyncio.run(run_node(config))
    except (InUseError, OSError) as error:
        raise SystemExit(f"node agent {config.ip}:{config.port}: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
