"""Makes a docker image of this machine's own Python, without any registry: `python -m agents.docker_image [NAME]`.

What goes in: the interpreter and its standard library at the paths they have here, the shared libraries that
these need, a handful of small programs, and the packages that `sdk` imports. An app finds `sdk` itself by a mount of
its agent, a node finds the whole project so.
"""

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from agents.containers import ContainerError
from agents.docker_sdk import DockerContainers

#: The image of which the documentation and the tests speak.
IMAGE = "watchkeep/python:local"
#: Label that says how an image was made.
RECIPE = "watchkeep.recipe"
#: Small programs of the machine that a person or a test may want inside.
PROGRAMS = ("sh", "sleep", "true", "false", "cat", "ls", "env")
#: Parts of the standard library that no app and no node needs: tests, an editor, a build.
_LEFT_OUT = {
    "__pycache__", "test", "tests", "idlelib", "lib2to3", "tkinter", "ensurepip", "turtledemo", "pydoc_data",
    "site-packages", "dist-packages",
}  # fmt: skip
#: Libraries that compiled packages ask for and the interpreter does not.
_PACKAGES_NEED = (
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libutil.so.1",
    "libgcc_s.so.1",
    "libstdc++.so.6",
)
#: What the parts of `sdk` import that talk to Kafka, and what these import; by the names of distributions.
_SDK_NEEDS = ("msgspec", "kafka-python", "aiokafka", "async-timeout", "packaging", "typing-extensions")
#: An import of 70 MB takes 2 s; a slow disk is given its time.
IMPORT_WITHIN_S = 300


def interpreter() -> Path:
    """The real path of this Python: `python3` may be a link or a shim."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return Path(os.path.realpath(base))


def files() -> Iterator[tuple[Path, str]]:
    """What goes in: file here and path in the image."""
    python = interpreter()
    library = Path(sysconfig.get_path("stdlib"))
    binaries = [python, *_programs()]
    for path in sorted(library.rglob("*")):
        parts = path.relative_to(library).parts
        if not (_LEFT_OUT.intersection(parts) or parts[0].startswith("config-3")) and path.is_file():
            yield path, str(path)
            if path.suffix == ".so":
                binaries.append(path)
    for source, place in _packages(_packages_place()):
        yield source, place
        if source.suffix == ".so":
            binaries.append(source)
    for path in binaries[: 1 + len(PROGRAMS)]:
        yield path, str(path)
    for path in _libraries(binaries):
        yield path, str(path)


def write_tar(target: Any) -> int:
    """Write the file system as a tar; the number of files."""
    count = 0
    with tarfile.open(fileobj=target, mode="w") as tar:
        for folder, mode in (
            ("tmp", 0o1777),
            ("app", 0o755),
            ("proc", 0o755),
            ("sys", 0o755),
            ("dev", 0o755),
        ):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        _add_text(
            tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
        )
        _add_text(tar, "etc/nsswitch.conf", "hosts: files dns\n")
        seen = set()
        for source, path in files():
            if path not in seen:
                seen.add(path)
                entry = tar.gettarinfo(os.path.realpath(source), path.lstrip("/"))
                with open(os.path.realpath(source), "rb") as content:  # noqa: PTH123 - a resolved path
                    tar.addfile(entry, content)
                count += 1
        for name in ("python3", "python"):
            _add_link(tar, f"usr/bin/{name}", str(interpreter()), seen)
        for program in PROGRAMS:
            _add_link(tar, f"bin/{program}", next(str(it) for it in _programs() if it.name == program), seen)
    return count


def build(name: str, host: str = "") -> str:
    """Make the image and return its id.

    Raises:
        ContainerError: the daemon does not take it.
    """
    with tempfile.TemporaryFile() as tar, contextlib.closing(DockerContainers(host)) as containers:
        write_tar(tar)
        tar.seek(0)
        return containers.import_image(name, tar, labels={RECIPE: recipe()}, within_s=IMPORT_WITHIN_S)


def is_current(name: str, host: str = "") -> bool:
    """Whether an image of that name is there and made as it would be made now."""
    try:
        with contextlib.closing(DockerContainers(host)) as containers:
            return containers.image_labels(name).get(RECIPE) == recipe()
    except ContainerError:
        return False


def recipe() -> str:
    """Changes with this program and with the Python that it packs."""
    versions = " ".join(metadata.version(name) for name in _SDK_NEEDS)
    return hashlib.sha256(Path(__file__).read_bytes() + f"{sys.version} {versions}".encode()).hexdigest()[:12]


def _packages_place() -> Path:
    """Where the interpreter of the image looks for packages: distributions have their own names for it."""
    asked = [str(interpreter()), "-c", "import site; print(site.getsitepackages()[0])"]
    return Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())


def _packages(place: Path) -> Iterator[tuple[Path, str]]:
    """The files of the packages that `sdk` needs: here, and below `place` in the image."""
    for name in _SDK_NEEDS:
        for file in metadata.files(name) or []:
            # Programs lie outside, one level or more up.
            if ".." not in file.parts and file.suffix != ".pyc":
                yield Path(str(file.locate())), str(place / file)


def _programs() -> list[Path]:
    found = []
    for name in PROGRAMS:
        place = next(
            (Path(folder) / name for folder in ("/bin", "/usr/bin") if (Path(folder) / name).exists()), None
        )
        if place is None:
            raise SystemExit(f"docker-image: this machine has no {name}")
        found.append(place)
    return found


def _libraries(binaries: list[Path]) -> list[Path]:
    """The shared libraries that these need, as the machine's own loader finds them."""
    shown = subprocess.run(
        ["ldd", *map(str, binaries)], capture_output=True, text=True, check=False
    ).stdout  # ldd fails for files that need none
    found = set()
    for line in shown.splitlines():
        words = line.split()
        if len(words) >= 3 and words[1] == "=>" and words[2].startswith("/"):  # noqa: PLR2004
            found.add(Path(words[2]))
        elif words and words[0].startswith("/") and not line.rstrip().endswith(":"):
            found.add(Path(words[0]))
    beside = {path.parent for path in found if path.name.startswith("libc.")}
    found |= {folder / name for folder in beside for name in _PACKAGES_NEED if (folder / name).exists()}
    return sorted(found)


def _add_text(tar: tarfile.TarFile, path: str, text: str) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = len(text.encode())
    tar.addfile(entry, io.BytesIO(text.encode()))


def _add_link(tar: tarfile.TarFile, path: str, target: str, seen: set[str]) -> None:
    if f"/{path}" not in seen:
        entry = tarfile.TarInfo(path)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        tar.addfile(entry)


def main(argv: list[str]) -> None:
    """Make the image and say so."""
    if len(argv) > 1 or any(word.startswith("-") for word in argv):
        raise SystemExit("usage: scripts/docker-image [NAME[:TAG]]")
    name = argv[0] if argv else IMAGE
    started_s = time.monotonic()
    _say(f"making {name} of Python {sys.version.split()[0]} and its libraries")
    try:
        made = build(name)
    except ContainerError as error:
        raise SystemExit(f"docker-image: {error}") from None
    except OSError as error:
        raise SystemExit(f"docker-image: {error}; is the disk full?") from None
    _say(f"{name} is there after {time.monotonic() - started_s:.1f} s")
    print(made)  # noqa: T201 - its result


def _say(text: str) -> None:
    sys.stderr.write(f"docker-image: {text}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
