"""Kafka's jar files: fetched once by their Maven coordinates, each checked against a committed lock file.

Part of the shell.

1. The lock file is the only list: order of the class path, coordinates, size and sha256 of each jar.
   Nothing is resolved at a user's machine, so two machines run the same bytes.
2. A jar gets its final name only after its sha256 was right, so a file that is there under it is whole.
3. Several checkouts share one cache; a file lock keeps two first starts apart.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from streams.commands import CommandError

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

LOCK_DIR: Final = Path(__file__).resolve().parent

#: Downloads at once. The jars are many and small, so latency counts; more gained nothing when measured.
_DOWNLOADS: Final = 8

#: Tries of one jar; a connection that breaks once in ninety downloads is usual.
_TRIES: Final = 3

#: Seconds that a second first start waits for the first: 58 MB on a slow line.
_LOCK_TIMEOUT_S: Final = 900

#: Told after each piece: bytes done, bytes in all.
ProgressCallback = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""
    del done, total


class JarError(CommandError):
    """Kafka cannot be had; the message says why and what to do."""


class Jar(NamedTuple):
    """One line of a lock file."""

    sha256: str
    size: int
    #: `group:artifact:version`, with `:classifier` where there is one.
    coordinate: str

    @property
    def file_name(self) -> str:
        """The name that Maven gives the file."""
        return "-".join(self.coordinate.split(":")[1:]) + ".jar"


def cache_dir() -> Path:
    """Return the folder that all checkouts of this user share."""
    own = os.environ.get("WATCHKEEP_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "watchkeep"


def kafka_dir(version: str) -> Path:
    """Return where the jars of one version and what is made of them are kept."""
    return cache_dir() / f"kafka-{version}"


def read_lock(version: str, lock_dir: Path = LOCK_DIR) -> list[Jar]:
    """Return the jars of one Kafka version in class path order.

    Raises:
        JarError: if there is no lock for that version.
    """
    path = lock_dir / f"kafka-{version}.lock"
    if not path.exists():
        known = ", ".join(sorted(p.stem.removeprefix("kafka-") for p in lock_dir.glob("kafka-*.lock")))
        raise JarError(f"Kafka {version} has no lock file here; there are {known}.")
    rows = [
        line.split() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    return [Jar(sha256, int(size), coordinate) for sha256, size, coordinate in rows]


def write_lock(path: Path, jars: Iterable[Jar], header: str) -> None:
    """Write a lock file."""
    lines = [f"# {line}" for line in header.splitlines()]
    lines += [f"{jar.sha256} {jar.size:>8} {jar.coordinate}" for jar in jars]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def is_fetched(version: str) -> bool:
    """Tell whether every jar is there; whether they are right is for `ensure_jars` to say."""
    folder = kafka_dir(version) / "lib"
    return all((folder / jar.file_name).exists() for jar in read_lock(version))


def ensure_jars(version: str, progress: ProgressCallback = no_progress) -> list[Path]:
    """Return the verified jars of one version in class path order, fetched if need be.

    Raises:
        JarError: if they cannot be fetched or one is not the locked one.
    """
    from filelock import FileLock, Timeout

    jars = read_lock(version)
    home = kafka_dir(version)
    folder = home / "lib"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(home / "fetch.lock", timeout=_LOCK_TIMEOUT_S):
            missing = [jar for jar in jars if not (folder / jar.file_name).exists()]
            if missing:
                _fetch(missing, folder, progress)
            verify_jars(jars, folder, stamp=home / "verified.json")
    except Timeout:
        raise JarError(
            "Another start has been fetching Kafka for 15 minutes; stop it and try again."
        ) from None
    except OSError as error:
        raise _disk_error(error) from error
    return [folder / jar.file_name for jar in jars]


def verify_jars(jars: Iterable[Jar], folder: Path, *, stamp: Path) -> None:
    """Raise JarError unless every jar is the locked one.

    A jar whose size and modification time are as when it was last hashed is not hashed again: 5 ms instead
    of 150 ms at every start.

    Raises:
        JarError: naming the jar.
    """
    known = _read_stamp(stamp)
    seen: dict[str, list[int | str]] = {}
    for jar in jars:
        path = folder / jar.file_name
        status = path.stat()
        seen[jar.file_name] = [status.st_size, status.st_mtime_ns, jar.sha256]
        if known.get(jar.file_name) != seen[jar.file_name] and hash_file(path) != jar.sha256:
            raise JarError(
                f"{path} is not the file that the lock names (sha256 differs); "
                "delete it and start again to fetch it anew."
            )
    if seen != known:
        write_atomically(stamp, json.dumps(seen))


def hash_file(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new one, never half of it."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _read_stamp(stamp: Path) -> dict[str, list[int | str]]:
    try:
        known = json.loads(stamp.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


class _Meter:
    """Counts bytes of several downloads at once; jgo calls `track` around each file."""

    def __init__(self, total: int, progress: ProgressCallback) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    @contextmanager
    def track(self, file_name: str, size: int) -> Generator[Callable[[int], None], None, None]:
        """Yield what jgo calls with the size of each piece."""
        del file_name, size
        yield self._add

    def _add(self, count: int) -> None:
        with self._lock:
            # A try that is repeated counts twice; more than all would look silly.
            self._done = min(self._done + count, self._total)
            self._progress(self._done, self._total)


def _fetch(jars: list[Jar], folder: Path, progress: ProgressCallback) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from tempfile import TemporaryDirectory

    from jgo.maven import MavenContext, PythonResolver

    meter = _Meter(sum(jar.size for jar in jars), progress)
    resolver = PythonResolver(progress_callback=meter.track)
    with TemporaryDirectory(dir=folder.parent, prefix="fetch-") as staging:
        context = MavenContext(resolver=resolver, repo_cache=Path(staging))
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            futures = [pool.submit(_fetch_one, context, jar, folder) for jar in jars]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                # One failure is enough; what has not begun is not tried.
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _fetch_one(context: MavenContext, jar: Jar, folder: Path) -> None:
    group, name, version, *classifier = jar.coordinate.split(":")
    artifact = context.project(group, name).at_version(version).artifact(*classifier)
    path = _download(artifact)
    if hash_file(path) != jar.sha256:
        raise JarError(
            f"The repository sent another {jar.file_name} than the lock names; nothing was started."
        )
    path.replace(folder / jar.file_name)


def _download(artifact: Artifact) -> Path:
    """Return the downloaded file of a jgo artifact, tried a few times.

    Raises:
        JarError: in plain words if the repository does not answer.
    """
    import requests

    failure: Exception | None = None
    for _ in range(_TRIES):
        try:
            return Path(artifact.resolve())
        except OSError as error:
            # requests' errors are OSErrors too, and only those are worth another try.
            if not isinstance(error, requests.RequestException):
                raise
            failure = error
        except RuntimeError as error:
            failure = error
        # jgo takes any file that is there for a whole one.
        if artifact.cached_path:
            artifact.cached_path.unlink(missing_ok=True)
    if isinstance(failure, requests.ConnectionError | requests.Timeout):
        raise JarError(
            "Kafka cannot be fetched because the Maven repository does not answer; the first start needs the "
            "network once, so connect it and start again (or set KAFKA_BOOTSTRAP_SERVERS to use another Kafka)."
        ) from failure
    raise JarError(f"Kafka cannot be fetched: {failure}.") from failure


def _disk_error(error: OSError) -> JarError:
    if error.errno == errno.ENOSPC:
        return JarError("The disk is full; free 500 MiB and start again.")
    return JarError(f"The Kafka cache cannot be used: {error}.")
