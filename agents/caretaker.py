"""The hands of the ssh provider on a host: the process provider behind standard input and output. Shell of the agents.

Started over a connection by `agents.ssh_boot`, as `python -m agents.caretaker`; its first line is a `PoolConfig`.
Rules:
1. It ends when its connection does, and touches no node then: they are in sessions of their own, and the book on the
   host's disk says what the next caretaker needs.
2. There is one at a time. A connection that was cut leaves a caretaker that has not noticed yet; the next ends it.
3. It decides nothing: what is to live or to end is said by the provisioner.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from agents import procfs
from agents.disk import DirectoryLock, InUseError, read_holder
from agents.entry import name_process, set_up_log
from agents.process_provider import ProcessProvider, create_sweep
from agents.provider import CreateError
from agents.settings import PoolConfig
from agents.spawner import PlainSpawner
from agents.ssh_words import (
    LINE_BYTES_MAX,
    Answered,
    Began,
    Call,
    Ended,
    Reply,
    Restarted,
    decode_line,
    encode_line,
)

log = logging.getLogger("watchkeep.caretaker")

#: A process that was killed is gone after some ms.
_PREDECESSOR_WITHIN_S = 5.0
#: Words that nobody takes: the connection hangs. 64 KiB are some hundred words.
_WAITING_BYTES_MAX = 64 << 10


class Caretaker:
    """Serves one connection."""

    def __init__(self, provider: ProcessProvider, out: asyncio.WriteTransport) -> None:
        self._provider = provider
        self._out = out
        self._living: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        #: Work on each order, in order.
        self._last: dict[int, asyncio.Task[None]] = {}
        provider.on_exit = self._on_exit
        provider.on_answer = lambda order: self._say(Answered(order))
        provider.on_restart = lambda order, node, pid: self._say(Restarted(order, node, pid))

    async def serve(self, lines: asyncio.StreamReader) -> None:
        """Say what is here, then do what is said, until the connection ends."""
        found = await self._provider.adopt()
        self._living |= {it.epoch for it in found if it.status == "alive"}
        self._say(Began(found))
        while line := await lines.readline():
            call = decode_line(line, Call)
            before = self._last.get(call.order)
            task = asyncio.ensure_future(self._after(before, self._answer(call)))
            self._last[call.order] = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _after(self, before: asyncio.Task[None] | None, work: Coroutine[Any, Any, None]) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        await work

    async def _answer(self, call: Call) -> None:
        try:
            node, pid = await self._do(call)
        except (CreateError, OSError) as error:
            self._refuse(call, str(error) or type(error).__name__)
        except Exception as error:  # a fault of ours: who asked is not left without an answer
            log.exception("%s of order %d", call.what, call.order)
            self._refuse(call, f"the caretaker failed: {error!r}")
        else:
            self._say(Reply(call.number, node, pid, call.order in self._living))

    def _refuse(self, call: Call, why: str) -> None:
        if call.what == "create":
            self._living.discard(call.order)
        self._say(Reply(call.number, error=why))

    async def _do(self, call: Call) -> tuple[str, int]:
        match call.what:
            case "create":
                # Before the start: the end of a node that ends at once must not come before its beginning.
                self._living.add(call.order)
                return await self._provider.create(call.order, call.wish)
            case "stop":
                await self._provider.stop(call.order)
            case "destroy":
                await self._provider.destroy(call.order)
            case "forget":
                await self._provider.forget(call.order)
            case "tidy":
                await self._provider.tidy()
        return "", 0

    def _on_exit(self, order: int, code: int | None, reason: str) -> None:
        self._living.discard(order)
        self._say(Ended(order, code, reason))

    def _say(self, word: msgspec.Struct) -> None:
        if self._out.get_write_buffer_size() > _WAITING_BYTES_MAX:
            raise SystemExit("caretaker: nobody takes what is said: ending")
        self._out.write(encode_line(word))


def end_predecessor(directory: Path) -> None:
    """End the caretaker that holds this directory, if one does."""
    pid, start = read_holder(directory)
    until_s = time.monotonic() + _PREDECESSOR_WITHIN_S
    while procfs.is_alive(pid, start) and time.monotonic() < until_s:
        try:
            # A pid may have another owner after the host was started anew.
            if b"agents.caretaker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                return
        except OSError:
            return
        procfs.send_signal(pid, signal.SIGKILL)
        time.sleep(0.01)


async def _serve(lines: asyncio.StreamReader, config: PoolConfig) -> None:
    loop = asyncio.get_running_loop()
    # Standard output is only what we say; what anything else prints goes to standard error.
    stdout = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    out, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, stdout)
    provider = ProcessProvider(config, PlainSpawner(), create_sweep(config))
    await Caretaker(provider, out).serve(lines)


async def _run() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    config = decode_line(await lines.readline(), PoolConfig)
    set_up_log(config.log_level)
    place = Path(config.data_dir) / "pools" / config.pool
    end_predecessor(place)
    lock = DirectoryLock(place)
    try:
        await _serve(lines, config)
    finally:
        lock.release()


def main() -> None:
    """Run a caretaker."""
    name_process("caretaker")
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        try:
            asyncio.run(_run())
        except (InUseError, OSError, msgspec.DecodeError) as error:
            raise SystemExit(f"caretaker: {error}") from None


if __name__ == "__main__":
    main()
