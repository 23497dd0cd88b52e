"""A TCP proxy before the broker that can cut single clients off: `python -m bench.auditing.cut_proxy`. Shell.

Everything of the audited platform reaches its broker through here, because the broker advertises this address on
the listener that they use. Rules:

1. Who a connection belongs to is asked of the kernel when it is opened: the process at the other end.
2. A cut carries no byte on, in one direction or both, and closes nothing: what was on its way waits, as TCP does
   when the network is gone, and goes on afterwards, also if its sender has given up meanwhile.
3. A connection opened during a cut of the way up is taken and stays mute; the kernel offers no way to leave it
   unanswered. So a client waits for its request timeout instead of its connection timeout.

Commands come as lines on stdin, `cut PID up|down|both` and `heal PID`; each is answered by a line `done`. A line
`late MS` on stdout says that this process, which does little, was not scheduled for so long.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 64 << 10
#: How often the pace is taken, and how late a turn must be to be told, s.
_PACE_S: Final = 0.1
_LATE_S: Final = 0.4


class Gates:
    """Which processes are cut, and the waiting that follows."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], asyncio.Event] = {}

    def of(self, owner: str, way: str) -> asyncio.Event:
        """The gate of one process and direction."""
        gate = self._open.get((owner, way))
        if gate is None:
            gate = self._open[owner, way] = asyncio.Event()
            gate.set()
        return gate

    def command(self, line: str) -> None:
        """Obey a line."""
        verb, owner, *rest = line.split()
        for way in ("up", "down"):
            gate = self.of(owner, way)
            if verb == "heal":
                gate.set()
            elif rest[0] in {way, "both"}:
                gate.clear()


async def carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gates: Gates, owner: str, way: str
) -> None:
    """Carry bytes one way until the sender closes; what waits at a closed gate is carried on later."""
    gate = gates.of(owner, way)
    with contextlib.suppress(OSError):
        while True:
            # While the gate is shut nothing is read either, so that the sender's buffers fill as they would.
            await gate.wait()
            data = await reader.read(_CHUNK_BYTES)
            await gate.wait()
            if not data:
                break
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(port: int, broker_port: int) -> None:
    """Carry connections until stdin ends."""
    gates = Gates()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        owner = str(await asyncio.to_thread(find_owner, int(peer[1]), port)) if peer else "0"
        await gates.of(owner, "up").wait()
        try:
            there, back = await asyncio.open_connection("127.0.0.1", broker_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            carry(reader, back, gates, owner, "up"), carry(there, writer, gates, owner, "down")
        )

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=512)
    say("ready")
    pace = asyncio.create_task(_tell_pace())
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        gates.command(line.decode())
        say("done")
    pace.cancel()
    server.close()


async def _tell_pace() -> None:
    loop = asyncio.get_running_loop()
    while True:
        begin_s = loop.time()
        await asyncio.sleep(_PACE_S)
        late_s = loop.time() - begin_s - _PACE_S
        if late_s > _LATE_S:
            say(f"late {late_s * 1000:.0f}")


def say(line: str) -> None:
    """Tell whoever started this."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def find_owner(port: int, proxy_port: int) -> int:
    """The process that has connected to us from a local port, 0 if it is gone again."""
    inode = find_inode(Path("/proc/net/tcp").read_text(encoding="ascii"), port, proxy_port)
    if not inode:
        return 0
    wanted = f"socket:[{inode}]"
    for entry in sorted(Path("/proc").iterdir(), key=_newest_first):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{entry.name}/fd"):  # noqa: PTH208  # hot: a thousand of them
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{entry.name}/fd/{name}") == wanted:  # noqa: PTH115  # the same
                        return int(entry.name)
    return 0


def find_inode(table: str, port: int, proxy_port: int) -> str:
    """The socket that is bound to a port and connected to another, in the text of `/proc/net/tcp`."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        local, remote = (int(fields[at].split(":")[1], 16) for at in (1, 2))
        if local == port and remote == proxy_port:
            return fields[9]
    return ""


def _newest_first(entry: Path) -> int:
    return -int(entry.name) if entry.name.isdigit() else 0


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
