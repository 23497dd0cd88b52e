"""Where the peers live, and how a job of each is started. Shell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from bench.peers.runs import Job
from streams.local.fast_start import java_path
from streams.local.jars import cache_dir, ensure_jars, read_lock

HERE: Final = Path(__file__).resolve().parent
KAFKA: Final = "4.1.1"
#: In `read_lock`'s words: kafka-streams-4.1.1.lock.
STREAMS: Final = f"streams-{KAFKA}"
#: With a virtual environment of their own.
PYTHON_PEERS: Final = ("faust", "quix", "bytewax")
JAVA_PEER: Final = "kafka_streams"
PEERS: Final = (*PYTHON_PEERS, JAVA_PEER)
#: Names for people.
NAMES: Final = {
    "faust": "Faust",
    "quix": "Quix Streams",
    "bytewax": "Bytewax",
    JAVA_PEER: "Kafka Streams",
}
#: Kafka Streams holds 300,000 keys in about 300 MiB beside what RocksDB has outside the heap.
_HEAP_MIB: Final = 1_024


def home() -> Path:
    """The folder that `bench/peers/setup` fills."""
    own = os.environ.get("WATCHKEEP_PEERS")
    return Path(own) if own else cache_dir() / "peers"


def jars(folder: Path) -> list[Path]:
    """The jars of Kafka Streams that the broker has not."""
    return [folder / "streams" / jar.file_name for jar in read_lock(STREAMS, HERE)]


def classes(folder: Path) -> Path:
    """Where its compiled job lies."""
    return folder / "streams" / "classes"


def is_ready(peer: str, folder: Path) -> bool:
    """Whether a peer was made ready."""
    if peer == JAVA_PEER:
        return (classes(folder) / "CountJob.class").exists()
    return (folder / peer / ".watchkeep-stamp").exists()


def job(peer: str, *, mode: str, bootstrap: str, topic: str, name: str, folder: Path, records: int) -> Job:
    """How a peer's job is started; `mode` is count, keep or restore."""
    order = [mode, bootstrap, topic, name, str(folder), str(records)]
    if peer == JAVA_PEER:
        path = [*jars(home()), *ensure_jars(KAFKA), classes(home())]
        options = [f"-Xmx{_HEAP_MIB}m", "--enable-native-access=ALL-UNNAMED"]
        argv = [str(java_path()), *options, "-cp", ":".join(map(str, path)), "CountJob"]
    else:
        argv = [str(home() / peer / "bin" / "python"), str(HERE / "jobs" / f"{peer}_job.py")]
    return Job(peer, [*argv, *order])


def version(peer: str) -> str:
    """The pinned version of a peer."""
    if peer == JAVA_PEER:
        return KAFKA
    package = {"faust": "faust-streaming", "quix": "quixstreams", "bytewax": "bytewax"}[peer]
    lines = (HERE / f"{peer}.txt").read_text(encoding="utf-8").splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith(f"{package}=="))
