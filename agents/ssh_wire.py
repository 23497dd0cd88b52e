"""A line to a host, and what is said on it before the caretaker speaks. Shell of the agents.

`Wire` is the port: `agents.ssh_connection` has the real one, the tests have one to a process of this machine that
hangs, refuses and breaks when told to.
"""

import contextlib
import functools
import hashlib
import io
import shlex
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from agents import ssh_boot
from agents.spawner import ROOT

#: Packages of ours that an agent needs.
_PACKAGES = ("agents", "sdk")
#: What an agent imports and the standard library has not; `docker` is only asked for where it is used.
_MODULES = ("aiokafka", "crc32c", "h11", "kafka", "msgspec", "psutil")
#: Lines that login scripts of the host may print before the first of ours.
_NOISE_LINES_MAX = 200
#: All archives have this date, so that one content has one digest.
_DATE = (2020, 1, 1, 0, 0, 0)


class HostAwayError(RuntimeError):
    """A host cannot be reached, or does not answer; the text says why. What was asked may still have happened."""


class Wire(Protocol):
    """Standard input and output of a command on a host."""

    def write(self, content: bytes) -> None:
        """Send, some time soon."""
        ...

    async def read_line(self) -> bytes:
        """The next line, empty at the end.

        Raises:
            HostAwayError: the connection broke.
        """
        ...

    def complaint(self) -> str:
        """The last line of its standard error, empty if there is none."""
        ...

    async def close(self) -> None:
        """Cut the connection; no error, and bounded."""
        ...


#: Runs a shell command on the host.
Connect = Callable[[str], Awaitable[Wire]]


class _BootWord(msgspec.Struct, frozen=True):
    """A line of `agents.ssh_boot`."""

    watchkeep: str
    problem: str = ""
    home: str = ""


@functools.cache
def pack_code() -> tuple[str, bytes]:
    """Digest and archive of the code that runs on the hosts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in _PACKAGES:
            for file in sorted((ROOT / package).rglob("*.py")):
                archive.writestr(
                    zipfile.ZipInfo(str(file.relative_to(ROOT)), _DATE),
                    file.read_bytes(),
                    zipfile.ZIP_DEFLATED,
                )
    return hashlib.sha256(buffer.getvalue()).hexdigest()[:16], buffer.getvalue()


@functools.cache
def _boot_text() -> bytes:
    return Path(ssh_boot.__file__).read_bytes()


def boot_command(python: str, home: str, *, with_docker: bool) -> str:
    """The shell command that begins on a host, for any shell: one line, its words in single quotes."""
    # The text itself comes over standard input, byte by byte: what follows it is for others to read.
    loader = f"import os;exec(b''.join(os.read(0,1) for _ in range({len(_boot_text())})))"
    modules = [*_MODULES, *["docker"] * with_docker]
    words = shlex.join(["-c", loader.replace("'", '"'), home, pack_code()[0], *modules])
    if python.startswith("~/"):
        # A shell takes a quoted `~` for a letter.
        return f'"$HOME"/{shlex.quote(python[2:])} {words}'
    return f"{shlex.quote(python)} {words}"


async def boot(wire: Wire) -> str:
    """See the host's side through to its caretaker; the home that it uses there, as an absolute path.

    Raises:
        HostAwayError: the host will not do; the text says why.
    """
    wire.write(_boot_text())
    for _ in range(_NOISE_LINES_MAX):
        line = await wire.read_line()
        if not line:
            raise HostAwayError(wire.complaint() or "the connection ended before a word was said")
        if not line.startswith(b'{"watchkeep"'):
            continue
        with contextlib.suppress(msgspec.DecodeError):
            word = msgspec.json.decode(line, type=_BootWord)
            if word.watchkeep == "ready":
                return word.home
            if word.watchkeep == "unfit":
                raise HostAwayError(word.problem)
            archive = pack_code()[1]
            wire.write(f"{len(archive)}\n".encode() + archive)
    raise HostAwayError(f"its login scripts print more than {_NOISE_LINES_MAX} lines")
