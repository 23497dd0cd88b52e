"""Connections to hosts, by asyncssh. Shell of the agents; loaded where used.

Nothing of the person who runs it counts: no configuration file, no agent, no list of known hosts. The host must show
the key that the hosts file pins, and only the key named there is offered to it.
"""

import asyncio
import contextlib
import logging
from collections import deque

import asyncssh

from agents.ssh_hosts import HostConfig
from agents.ssh_wire import HostAwayError

log = logging.getLogger("watchkeep.ssh")

#: A connection takes 50 ms on a local network; a host that is busy or far takes seconds.
CONNECT_WITHIN_S = 5.0
LOGIN_WITHIN_S = 5.0
#: So often an idle connection is asked whether it lives, and so many answers may be missing: a cut is seen in 4 s.
ALIVE_EVERY_S = 1
ALIVE_MISSING_MAX = 3
_CLOSE_WITHIN_S = 1.0
_COMPLAINTS_KEPT = 20


class SshWire:
    """A command on a host, over a connection of its own."""

    def __init__(
        self, name: str, connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes]
    ) -> None:
        self._name = name
        self._connection = connection
        self._process = process
        self._complaints: deque[str] = deque(maxlen=_COMPLAINTS_KEPT)
        self._listening = asyncio.ensure_future(self._listen())

    def write(self, content: bytes) -> None:
        """Send, some time soon."""
        # A channel that has closed meanwhile is seen by who reads.
        with contextlib.suppress(OSError):
            self._process.stdin.write(content)

    async def read_line(self) -> bytes:
        """The next line, empty at the end."""
        try:
            line = await self._process.stdout.readline()
        except (asyncssh.Error, OSError) as error:
            raise HostAwayError(f"the connection broke: {error}") from None
        if not line:
            # The end of the output may be here before the last complaint is.
            await asyncio.wait([self._listening], timeout=_CLOSE_WITHIN_S)
        return line

    def complaint(self) -> str:
        """The last line of its standard error."""
        return self._complaints[-1] if self._complaints else ""

    async def close(self) -> None:
        """Cut the connection."""
        self._listening.cancel()
        self._connection.abort()
        with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await self._connection.wait_closed()

    async def _listen(self) -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            while line := await self._process.stderr.readline():
                said = line.decode(errors="replace").strip()
                if said:
                    self._complaints.append(said[:500])
                    log.info("%s: %s", self._name, said[:500])


async def connect(host: HostConfig, command: str) -> SshWire:
    """Run a command on a host.

    Raises:
        HostAwayError: it cannot be reached, shows another key, or does not let us in.
    """
    # Its own lines tell of each connection, channel and key.
    asyncssh.set_log_level(logging.ERROR)
    try:
        pinned = asyncssh.import_public_key(host.host_key)
        connection = await asyncssh.connect(
            host.host,
            host.port,
            username=host.user,
            client_keys=[host.key],
            known_hosts=([pinned], [], []),
            config=None,
            agent_path=None,
            preferred_auth="publickey",
            connect_timeout=CONNECT_WITHIN_S,
            login_timeout=LOGIN_WITHIN_S,
            keepalive_interval=ALIVE_EVERY_S,
            keepalive_count_max=ALIVE_MISSING_MAX,
        )
    except asyncssh.HostKeyNotVerifiable:
        raise HostAwayError("it shows another host key than the hosts file pins: not talked to") from None
    except asyncssh.PermissionDenied:
        raise HostAwayError(f"it does not let in user {host.user} with the key {host.key}") from None
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise HostAwayError(f"a key cannot be used: {error}") from None
    except TimeoutError:
        raise HostAwayError(f"it does not answer within {CONNECT_WITHIN_S + LOGIN_WITHIN_S:g} s") from None
    except (asyncssh.Error, OSError) as error:
        raise HostAwayError(f"no connection: {error}") from None
    try:
        async with asyncio.timeout(LOGIN_WITHIN_S):
            process = await connection.create_process(command, encoding=None)
    except (asyncssh.Error, OSError, TimeoutError) as error:
        connection.abort()
        raise HostAwayError(f"no command can be run: {str(error) or 'no answer'}") from None
    return SshWire(host.name, connection, process)
