"""Begins on a remote host: checks its Python, takes the code if it is not there, becomes the caretaker.

Its text is sent over the connection and executed by whatever Python the host has, so it must be readable for old ones
(3.6 and newer) and may use nothing but the standard library. Arguments: home, digest of the code, modules that must be
there. It answers with lines of JSON that begin with `{"watchkeep"`, because login scripts may print too.
"""

import importlib.util
import io
import json
import os
import sys
import zipfile
from pathlib import Path


def say(word: str, **more: str) -> None:
    """Answer with a line."""
    os.write(1, (json.dumps(dict(watchkeep=word, **more)) + "\n").encode())


def read_exactly(size: int) -> bytes:
    """That many bytes of standard input and not one more: what comes after them is for the caretaker."""
    parts = []
    while size > 0:
        part = os.read(0, min(size, 1 << 16))
        if not part:
            raise SystemExit("the connection ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_line() -> bytes:
    """A line of standard input, byte by byte for the same reason."""
    line = b""
    while not line.endswith(b"\n"):
        line += read_exactly(1)
    return line


def take_code(code: Path) -> None:
    """Ask for the code and put it in place whole or not at all."""
    say("wanted")
    aside = code.with_name(f"{code.name}.{os.getpid()}")
    with zipfile.ZipFile(io.BytesIO(read_exactly(int(read_line())))) as archive:
        archive.extractall(aside)
    try:
        aside.rename(code)
    except OSError:
        # Somebody else was faster, with the same code.
        if not code.is_dir():
            raise


def problem_of(modules: "list[str]") -> str:
    """Why this Python will not do; empty if it does."""
    if sys.version_info < (3, 11):  # noqa: UP036 - it may be any
        version = ".".join(map(str, sys.version_info[:2]))
        return f"{sys.executable} is Python {version}, 3.11 or newer is needed"
    missing = [it for it in modules if importlib.util.find_spec(it) is None]
    if missing:
        names = ", ".join(missing)
        return f"{sys.executable} has no {names}: install the packages of constraints.txt for it"
    return ""


def main(home: str, digest: str, *modules: str) -> None:
    """Check, take, and go on as the caretaker."""
    if sys.path[:1] == [""]:
        del sys.path[0]
    problem = problem_of(list(modules))
    if problem:
        say("unfit", problem=problem)
        return
    place = Path(home)
    try:
        place = place.expanduser().resolve()
        code = place / "code" / digest
        code.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not code.is_dir():
            take_code(code)
        os.chdir(code)
    except (OSError, RuntimeError) as error:
        say("unfit", problem=f"{place} cannot be used: {error}")
        return
    say("ready", home=str(place))
    os.execve(
        sys.executable, [sys.executable, "-m", "agents.caretaker"], dict(os.environ, PYTHONPATH=str(code))
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
