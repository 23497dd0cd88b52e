"""The configuration of our own Kafka as text: broker, logging and the Java command line. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class BrokerPlace(NamedTuple):
    """Where one broker listens and keeps its things."""

    host: str
    port: int
    controller_port: int
    #: Folder of the broker alone: `log/` (records), `server.properties`, `logging.properties`.
    home: Path


def server_properties(place: BrokerPlace, extra: dict[str, str]) -> str:
    """Return `server.properties` of a broker that is also its own controller; `extra` wins."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{place.host}:{place.controller_port}",
        "listeners": f"PLAINTEXT://{place.host}:{place.port},CONTROLLER://{place.host}:{place.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{place.host}:{place.port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(place.home / "log"),
        # Our topics are made by our own admin step; one made by accident has the wrong partitions for ever.
        "auto.create.topics.enable": "false",
        # Neither aiokafka nor kafka-python speaks the newer protocol, so the classic one must stay.
        "group.coordinator.rebalance.protocols": "classic,consumer",
        # A lone worker need not wait 3 s for others.
        "group.initial.rebalance.delay.ms": "0",
        # Workers are given up after 3 s; the usual floor is 6 s.
        "group.min.session.timeout.ms": "1000",
        # A broker killed with -9 waits for its own old session: 4.7 s instead of 12 until it is back.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "1000",
        # An empty record twice a second is a third of the idle work of a broker without followers.
        "metadata.max.idle.interval.ms": "5000",
        # One broker, so one copy of everything.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        # A group or two of ours: fifty partitions would only be fifty open files.
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.num.partitions": "1",
        # Deleting and compacting are looked for once a minute: topics here roll every ten.
        "log.retention.check.interval.ms": "60000",
        # 128 MiB by default, half of our heap; 8 MiB hold the keys of 300,000 rows a pass.
        "log.cleaner.dedupe.buffer.size": str(8 << 20),
        # Sized for two cores that others use too.
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "num.recovery.threads.per.data.dir": "2",
    } | extra
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def bridge_listener(place: BrokerPlace, bridge: str) -> dict[str, str]:
    """Settings with one listener more, at `bridge` (`host:port`), for containers in a network of their own.

    Clients follow the address that a broker advertises, so each listener advertises itself.
    """
    own = f"PLAINTEXT://{place.host}:{place.port},BRIDGE://{bridge}"
    return {
        "listeners": f"{own},CONTROLLER://{place.host}:{place.controller_port}",
        "advertised.listeners": own,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,BRIDGE:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }


def logging_properties(version: str, log_file: Path) -> str:
    """Return the logging configuration: one file, four times 10 MiB at most."""
    if version.startswith("3."):
        return f"""\
log4j.rootLogger=INFO, file
log4j.appender.file=org.apache.log4j.RollingFileAppender
log4j.appender.file.File={log_file}
log4j.appender.file.MaxFileSize=10MB
log4j.appender.file.MaxBackupIndex=3
log4j.appender.file.layout=org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern=%d{{ISO8601}} %p %m (%c)%n
"""
    return f"""\
rootLogger.level = info
rootLogger.appenderRefs = file
rootLogger.appenderRef.file.ref = file
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {log_file}
appender.file.filePattern = {log_file}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
"""


def java_command(
    java: Path,
    jars: list[Path],
    *,
    version: str,
    logging: Path | None,
    heap_mib: int,
    options: tuple[str, ...] = (),
) -> list[str]:
    """Return the Java command line up to the main class."""
    flags = [
        f"-Xmx{heap_mib}m",
        # The second compiler pays off after minutes of load; without it the start is faster and smaller.
        "-XX:TieredStopAtLevel=1",
        # Few cores, small heap: the serial collector needs neither threads nor side tables.
        "-XX:+UseSerialGC",
        # A broker without memory must end and be started again, not limp.
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
    ]
    if logging:
        key = "log4j.configuration" if version.startswith("3.") else "log4j2.configurationFile"
        flags.append(f"-D{key}=file:{logging}")
    return [str(java), *flags, *options, "-cp", ":".join(map(str, jars))]
