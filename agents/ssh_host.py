"""A host and the connection to it: made, kept, made again. Shell of the agents.

Rules:
1. Every wait has a bound. A host that does not answer one call in time is taken for away, and its connection is cut.
2. A lost connection says nothing about nodes: what became of them is told by the next caretaker's first words.
3. A host that is away is tried again for ever, with a pause that doubles to 10 s; whoever needs it has it tried at
   once.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from agents.settings import PoolConfig
from agents.ssh_hosts import HostConfig
from agents.ssh_wire import Connect, HostAwayError, Wire, boot, boot_command
from agents.ssh_words import Began, Call, Reply, Said, decode_line, decode_said, encode_line
from agents.state import Found
from sdk.contract.orders import NodeOrder

log = logging.getLogger("watchkeep.ssh")

#: Start of the caretaker, with the transfer of the code (130 KB) where it is missing: 0.5 s on a free machine.
BEGIN_WITHIN_S = 20.0
#: A call takes some ms on the host; ending a node up to 2 s (policy `destroy_within_ms`).
CALL_WITHIN_S = 5.0
#: The start of an agent is one fork there, on an overloaded host some seconds.
CREATE_WITHIN_S = 15.0
#: Between two tries to connect. The first is soon, because most losses are short; a try costs some ms of processor.
PAUSE_S = 0.25
PAUSE_MAX_S = 10.0

OnFound = Callable[[list[Found]], None]
OnSaid = Callable[[Said], None]


class RefusedError(RuntimeError):
    """The caretaker could not do what it was asked; the text says why."""


class Host:
    """One machine of a pool."""

    def __init__(
        self,
        config: HostConfig,
        pool: PoolConfig,
        folder: str,
        connect: Connect,
        *,
        on_found: OnFound,
        on_said: OnSaid,
    ) -> None:
        """`pool` is the configuration for the caretaker; its nodes lie in `folder` under the host's home."""
        self.config = config
        #: Why it is away; empty: it is not, or was not tried yet.
        self.problem = ""
        self._pool = pool
        self._folder = folder
        self._connect = connect
        self._on_found = on_found
        self._on_said = on_said
        self._wire: Wire | None = None
        self._calls: dict[int, asyncio.Future[Reply]] = {}
        self._number = 0
        #: A try has been made since somebody wanted to know.
        self._tried = asyncio.Event()
        self._wanted = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.config.name

    @property
    def is_up(self) -> bool:
        """Whether its caretaker is there, as far as we know."""
        return self._wire is not None

    def open(self) -> None:
        """Begin to connect."""
        self._running = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Let go of it; its nodes live on."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def wait_tried(self, within_s: float) -> None:
        """Have it tried now if it is away; return when it is up or has failed, or after that time."""
        if self.is_up:
            return
        self._tried.clear()
        self._wanted.set()
        try:
            async with asyncio.timeout(within_s):
                await self._tried.wait()
        except TimeoutError:
            self.problem = self.problem or f"it does not answer within {within_s:g} s"

    async def call(
        self,
        what: str,
        order: int = 0,
        wish: NodeOrder | None = None,
        *,
        within_s: float = CALL_WITHIN_S,
    ) -> Reply:
        """What the caretaker says.

        Raises:
            HostAwayError: it was not asked, or said nothing in time; then it may be done or not.
            RefusedError: it could not do it.
        """
        wire = self._wire
        if wire is None:
            raise HostAwayError(self.problem or "it was not reached yet")
        self._number += 1
        number = self._number
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._calls[number] = waiting
        wire.write(encode_line(Call(number, what, order, wish)))  # type: ignore[arg-type]  # one of the words
        try:
            async with asyncio.timeout(within_s):
                reply = await waiting
        except TimeoutError:
            self._give_up(wire)
            raise HostAwayError(f"it said nothing for {within_s:g} s") from None
        finally:
            self._calls.pop(number, None)
        if reply.error:
            raise RefusedError(reply.error)
        return reply

    async def _run(self) -> None:
        pause_s = PAUSE_S
        while True:
            self._wanted.clear()
            try:
                wire = await self._begin()
            except HostAwayError as error:
                self._note_problem(str(error))
            except Exception as error:  # a fault of ours must not end the tries
                log.exception("host %s", self.name)
                self._note_problem(f"it cannot be talked to: {error!r}")
            else:
                pause_s = PAUSE_S
                await self._serve(wire)
            try:
                async with asyncio.timeout(pause_s):
                    await self._wanted.wait()
            except TimeoutError:
                pause_s = min(pause_s * 2, PAUSE_MAX_S)

    async def _serve(self, wire: Wire) -> None:
        """Keep a connection until it ends."""
        self._listening = asyncio.ensure_future(self._listen(wire))
        try:
            await asyncio.wait([self._listening])
            if not self._listening.cancelled() and (error := self._listening.exception()):
                log.error("host %s", self.name, exc_info=error)
        finally:
            self._listening.cancel()
            self._lose(wire)
            await wire.close()

    async def _begin(self) -> Wire:
        """A connection whose caretaker has said what it found."""
        wire = None
        try:
            async with asyncio.timeout(BEGIN_WITHIN_S):
                config = self.config
                with_docker = self._pool.docker is not None
                wire = await self._connect(boot_command(config.python, config.home, with_docker=with_docker))
                home = await boot(wire)
                there = msgspec.structs.replace(
                    self._pool,
                    data_dir=f"{home}/{self._folder}",
                    secrets=f"{home}/secrets",
                    exec_token=f"{home}/exec-token",
                )
                wire.write(encode_line(there))
                found = await _read_began(wire)
        except TimeoutError:
            await _cut(wire)
            raise HostAwayError(f"it said nothing for {BEGIN_WITHIN_S:g} s") from None
        except msgspec.DecodeError as error:
            await _cut(wire)
            raise HostAwayError(f"its caretaker says what makes no sense: {error}") from None
        except BaseException:
            await _cut(wire)
            raise
        level = logging.WARNING if self.problem else logging.INFO
        log.log(level, "host %s: connected, %d nodes in its book", self.name, len(found))
        self.problem = ""
        self._wire = wire
        self._on_found(found)
        self._tried.set()
        return wire

    async def _listen(self, wire: Wire) -> None:
        """Take what the caretaker says until nothing more comes."""
        try:
            while line := await wire.read_line():
                said = decode_said(line)
                if isinstance(said, Reply):
                    waiting = self._calls.get(said.number)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(said)
                else:
                    self._on_said(said)
        except (HostAwayError, msgspec.DecodeError) as error:
            self._note_problem(str(error))
        else:
            self._note_problem(wire.complaint() or "the connection ended")

    def _lose(self, wire: Wire) -> None:
        """Nobody is at the other end of this wire any more."""
        if self._wire is wire:
            self._wire = None
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_exception(HostAwayError(self.problem or "the connection ended"))

    def _give_up(self, wire: Wire) -> None:
        """The other end does not answer: begin anew."""
        if self._wire is wire and self._listening is not None:
            self._wire = None
            self._note_problem("it did not answer in time")
            self._listening.cancel()

    def _note_problem(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("host %s is away: %s", self.name, problem)
        self.problem = problem
        self._tried.set()


async def _read_began(wire: Wire) -> list[Found]:
    """The nodes that the caretaker's first words name."""
    line = await wire.read_line()
    if not line:
        raise HostAwayError(wire.complaint() or "the caretaker ended")
    return decode_line(line, Began).found


async def _cut(wire: Wire | None) -> None:
    if wire is not None:
        await wire.close()
