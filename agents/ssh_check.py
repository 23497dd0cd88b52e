"""Whether the hosts of a file can take nodes: `python -m agents.ssh_check FILE`. Shell of the agents.

Prints a JSON object a line: host, whether it will do, and what was found. Nothing is started; a host that lacks the
code gets it.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from agents.ssh_connection import connect
from agents.ssh_host import BEGIN_WITHIN_S
from agents.ssh_hosts import HostConfig, HostsError, read_hosts
from agents.ssh_wire import HostAwayError, boot, boot_command


class Checked(msgspec.Struct, frozen=True):
    """What was found about a host."""

    host: str
    is_fit: bool
    detail: str


async def check_host(host: HostConfig) -> Checked:
    """Connect, and go as far as a caretaker would begin."""
    wire = None
    try:
        async with asyncio.timeout(BEGIN_WITHIN_S):
            wire = await connect(host, boot_command(host.python, host.home, with_docker=False))
            home = await boot(wire)
    except HostAwayError as error:
        return Checked(host.name, is_fit=False, detail=str(error))
    except TimeoutError:
        return Checked(host.name, is_fit=False, detail=f"it said nothing for {BEGIN_WITHIN_S:g} s")
    finally:
        if wire is not None:
            await wire.close()
    room = f"{host.nodes_max} nodes" if host.nodes_max > 1 else "one node"
    return Checked(host.name, is_fit=True, detail=f"takes {room} as {host.user} in {home}")


async def check_hosts(hosts: list[HostConfig]) -> list[Checked]:
    """All of them, at once."""
    return list(await asyncio.gather(*map(check_host, hosts)))


def main(argv: list[str]) -> None:
    """Check the hosts of a file."""
    if len(argv) != 1:
        raise SystemExit("usage: python -m agents.ssh_check FILE")
    try:
        hosts = read_hosts(Path(argv[0]))
    except HostsError as error:
        raise SystemExit(str(error)) from None
    for checked in asyncio.run(check_hosts(hosts)):
        sys.stdout.write(msgspec.json.encode(checked).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
