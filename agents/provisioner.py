"""The provisioner: an agent whose things are nodes. `python -m agents.provisioner --config FILE`."""

import asyncio
import logging
import sys
from pathlib import Path

from agents import inputs as i
from agents import template
from agents.disk import DirectoryLock, InUseError, read_record
from agents.entry import boot_id, config_path, describe, on_stop, set_up_log
from agents.link import Link
from agents.process_provider import ProcessProvider, create_sweep
from agents.provider import CreateError, Provider
from agents.settings import PoolConfig, read_config
from agents.shell import Shell
from agents.spawner import Spawner, TemplateSpawner
from agents.state import Identity, Image, first_state
from sdk.contract.ids import pool_id
from sdk.contract.orders import AppOrder, NodeOrder
from sdk.contract.topics import Topics

log = logging.getLogger("watchkeep.provisioner")

#: How long a provider may take to let go, s. Letting go of a host that answers takes a fraction of one; a host that
#: does not must not keep `down` waiting.
CLOSE_WITHIN_S = 3.0


class NodeHands:
    """A provider as the shell wants it."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def spawn(self, key: str, epoch: int, order: AppOrder | NodeOrder | None) -> tuple[int, str]:
        """Create a node, or bring back a parked one."""
        if isinstance(order, AppOrder):
            raise CreateError(f"no order of a node: {key}")
        node, pid = await self._provider.create(epoch, order)
        return pid, node

    async def stop(self, _key: str, epoch: int) -> None:
        """Park a node."""
        await self._provider.stop(epoch)

    async def kill(self, _key: str, epoch: int) -> None:
        """Destroy a node."""
        await self._provider.destroy(epoch)

    async def forget(self, _key: str, epoch: int) -> None:
        """Drop the record of a node."""
        await self._provider.forget(epoch)

    async def tidy(self) -> None:
        """Rotate logs."""
        await self._provider.tidy()


async def run_pool(config: PoolConfig, spawner: Spawner) -> None:
    """Keep the pool's nodes until told to stop; `spawner` starts those that are processes, and is closed then."""
    reporter = pool_id(config.pool)
    identity = Identity(
        kind="pool",
        reporter=reporter,
        order=0,
        ip=config.ip,
        port=0,
        pool=pool_id(config.pool),
        slots=0,
        drivers=[config.provider],
        boot_id=boot_id(),
    )
    provider = create_provider(config, spawner)
    image_path = Path(config.data_dir) / "pools" / config.pool / "runner.json"
    early: list[i.Input] = []
    provider.on_exit = lambda order, code, why: early.append(i.Exited(str(order), order, code, why))
    provider.on_answer = lambda order: early.append(i.Beaten(str(order), order))
    provider.on_restart = lambda order, node, pid: early.append(i.Spawned(str(order), order, pid, node))
    state = first_state(identity, read_record(image_path, Image, Image()), await provider.adopt())
    shell = Shell(state, NodeHands(provider), image_path)
    provider.on_exit = lambda order, code, why: shell.feed(i.Exited(str(order), order, code, why))
    provider.on_answer = lambda order: shell.feed(i.Beaten(str(order), order))
    provider.on_restart = lambda order, node, pid: shell.feed(i.Spawned(str(order), order, pid, node))
    for item in early:
        shell.feed(item)
    link = Link(
        config.bootstrap,
        Topics(config.prefix),
        reporter,
        on_sent=shell.note_sent,
        on_orders=lambda orders: shell.feed(i.OrdersRead(orders)),
        on_caught_up=lambda: shell.feed(i.CaughtUp()),
    )
    on_stop(lambda: shell.feed(i.StopAsked()))
    log.info("%s begins, provider %s", describe(identity), config.provider)
    try:
        await shell.run(link)
    finally:
        await let_go(provider)
        spawner.close()
        await link.close()
    log.info("%s ends, everything stopped", describe(identity))


async def let_go(provider: Provider) -> None:
    """Close the provider, within a bound: what is not let go of by then ends with this process."""
    try:
        closing = provider.close()
        if closing is not None:
            await asyncio.wait_for(closing, CLOSE_WITHIN_S)
    except (OSError, TimeoutError) as error:
        log.warning("the provider could not be closed: %r", error)


def create_provider(config: PoolConfig, spawner: Spawner) -> Provider:
    """The provider that the configuration names."""
    if config.provider == "docker":
        # Loaded only where it is used, as in the nodes.
        from agents.docker_node import create_docker_provider

        return create_docker_provider(config)
    if config.provider == "ssh":
        from agents.ssh_provider import create_ssh_provider

        return create_ssh_provider(config)
    if config.provider == "cloud":
        from agents.cloud_pool import create_cloud_provider

        return create_cloud_provider(config)
    return ProcessProvider(config, spawner, create_sweep(config))


def main(argv: list[str]) -> None:
    """Run a provisioner."""
    config = read_config(config_path(argv, program="agents.provisioner"), PoolConfig)
    # Forked before there is a loop, a lock or an open file that it could inherit.
    begun = template.begin()
    set_up_log(config.log_level)
    try:
        DirectoryLock(Path(config.data_dir) / "pools" / config.pool)
        asyncio.run(run_pool(config, TemplateSpawner(begun)))
    except (InUseError, OSError) as error:
        raise SystemExit(f"provisioner of pool {config.pool}: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
