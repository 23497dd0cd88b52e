"""Makes the lock file of a Kafka version: `python -m streams.local.make_lock 4.1.1`.

Part of the shell; for maintainers.

Kafka and the log binding are resolved apart. Together, jgo takes the dependency management of log4j's parent
for that of the whole and puts kafka-clients 3.8.0 beside Kafka 4.1.1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from jgo.maven import MavenContext

from streams.local.jars import LOCK_DIR, Jar, hash_file, write_lock

#: By main version of Kafka: what it speaks for logging (without it, the broker says nothing at all).
LOG_BINDINGS: Final = {
    "3": "org.slf4j:slf4j-reload4j:1.7.36",
    "4": "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
}


def make_lock(version: str, path: Path) -> list[Jar]:
    """Resolve one version, fetch its jars, write the lock and return its lines."""
    groups = [
        [f"org.apache.kafka:kafka_2.13:{version}", f"org.apache.kafka:kafka-tools:{version}"],
        [LOG_BINDINGS[version.split(".", maxsplit=1)[0]]],
    ]
    jars: dict[str, Jar] = {}
    with TemporaryDirectory() as staging:
        context = MavenContext(repo_cache=Path(staging))
        for group in groups:
            wanted = [context.create_dependency(coordinate) for coordinate in group]
            inputs, transitive = context.resolver.resolve(wanted)
            for dependency in [*inputs, *transitive]:
                file = dependency.artifact.resolve()
                parts = [dependency.groupId, dependency.artifactId, dependency.version]
                coordinate = ":".join(parts + [dependency.classifier] * bool(dependency.classifier))
                # The first one named wins, as in Maven: Kafka's own choice over the binding's.
                jars.setdefault(":".join(parts[:2]), Jar(hash_file(file), file.stat().st_size, coordinate))
    header = f"Apache Kafka {version}: sha256, size and coordinate of each jar, in class path order.\n"
    header += f"Made by: python -m streams.local.make_lock {version}"
    write_lock(path, jars.values(), header)
    return list(jars.values())


if __name__ == "__main__":
    for wanted_version in sys.argv[1:]:
        made = make_lock(wanted_version, LOCK_DIR / f"kafka-{wanted_version}.lock")
        sys.stdout.write(f"{wanted_version}: {len(made)} jars, {sum(jar.size for jar in made)} bytes\n")
