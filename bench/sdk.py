"""What the SDK costs an application, against bare clients in the same run: `python -m bench.sdk --json`.

A platform of its own with one worker. README.md says how each figure is taken.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from rich.console import Console

from bench.calls import arithmetic, counting, share, timed_us
from bench.results import (
    COULD_NOT,
    BenchError,
    Figure,
    Result,
    Target,
    make_figure,
    print_result,
    read_machine,
)
from sdk import controllers, notifications, sensors
from sdk.contract.devices import Device
from sdk.contract.requests import BindDevice, RegisterDevice
from sdk.heartbeat import HeartBeat
from sdk.original import interface_to_get_data
from sdk.values import decode_value
from streams.local.rig import Rig

READ_P50: Final = Target("get_sensor_data_us_p50", 20, "us")
READ_P99: Final = Target("get_sensor_data_us_p99", 200, "us")
FIRST: Final = Target("first_read_ms", 300)
FRESH: Final = Target("freshness_ms_p99", 50)
STREAM: Final = Target("stream_ratio", 0.5, "of a bare consumer's rate", "higher")
BEAT: Final = Target("heart_beat_us_p99", 250, "us")
NOTIFY: Final = Target("notify_us_p99", 250, "us")
AWAY: Final = Target("broker_away_call_us_max", 1_000, "us")
IMPORT: Final = Target("import_ms", 50)

APP: Final = "application-bench"
#: Records of the topic that is streamed: some seconds of the slower reader.
RECORDS: Final = 20_000
_READS, _SAMPLES, _CALLS = 20_000, 100, 1_000
#: Patience with what takes a moment, s.
_WITHIN_S: Final = 20.0

#: Child programs print what they measured, ms; imports are not part of it, see `import_ms`.
_FIRST_READ: Final = """
import time
from sdk import sensors
sensors.read
began = time.perf_counter()
reading = sensors.read(0, app="bench")
print((time.perf_counter() - began) * 1000 if reading.offset >= 0 else -1)
"""
_FIRST_BARE: Final = """
import os, sys, time
from kafka import KafkaConsumer, TopicPartition
began = time.perf_counter()
place = TopicPartition("bench-0", 0)
consumer = KafkaConsumer(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"], api_version=(2, 6))
consumer.assign([place])
consumer.seek(place, consumer.end_offsets([place])[place] - 1)
while not consumer.poll(timeout_ms=100):
    pass
print((time.perf_counter() - began) * 1000)
"""


class Bench:
    """One run: figures, and what bare clients gave for the same."""

    def __init__(self, rig: Rig, rounds: int, say: Callable[[str], None]) -> None:
        self._rig, self._rounds, self._say = rig, rounds, say
        self.detail: dict[str, dict[str, float]] = {}
        self._producer = KafkaProducer(bootstrap_servers=rig.bootstrap, linger_ms=0)

    def run(self) -> list[Figure]:
        """All of them; the broker goes away last."""
        self._prepare()
        figures = []
        parts = (
            self._import, self._first_read, self._reads, self._freshness, self._stream, self._held, self._away
        )  # fmt: skip
        # This process holds the bench and all that its rig has read; an app does not go through that when it collects.
        gc.collect()
        gc.freeze()
        for part in parts:
            self._say(part.__name__.strip("_").replace("_", " "))
            figures += part()
        return figures

    def close(self) -> None:
        """Let go of everything."""
        self._producer.close(timeout=0)
        notifications.close(0.0)
        controllers.close(0.0)
        sensors.close()

    def _prepare(self) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self._rig.bootstrap)
        config = {"message.timestamp.type": "LogAppendTime"}
        admin.create_topics([NewTopic(f"bench-{number}", 1, 1, topic_configs=config) for number in range(2)])
        admin.close()
        for number in range(2):
            self._rig.ask(RegisterDevice(Device(f"sensor-{number}", topic=f"bench-{number}")))
            self._rig.ask(BindDevice(APP, number, f"sensor-{number}"))
        self._write(0)
        for number in range(RECORDS):
            self._producer.send("bench-1", json.dumps({"t": number / 10, "unit": "C"}).encode())
        self._producer.flush()

    def _write(self, value: Any) -> Any:
        return self._producer.send("bench-0", json.dumps(value).encode()).get(10)

    # --- figures ----------------------------------------------------------------------------------------

    def _import(self) -> list[Figure]:
        def wall_ms(code: str) -> float:
            began_s = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            return (time.perf_counter() - began_s) * 1000

        wall_ms("import sdk")
        codes = ("pass", "import sdk", "from sdk import App")
        taken: dict[str, list[float]] = {code: [] for code in codes}
        over = []
        for _ in range(self._rounds):
            # One after the other in turn, so that what else the machine does falls on all of them.
            for code in codes * 4:
                taken[code].append(wall_ms(code))
            bare, ours = (statistics.median(taken[code][-4:]) for code in codes[:2])
            over.append(max(0.0, ours - bare))
        bare_ms, _, app_ms = (statistics.median(taken[code]) for code in codes)
        self._note(IMPORT, bare=bare_ms, app=app_ms - bare_ms)
        return [make_figure(IMPORT, over)]

    def _first_read(self) -> list[Figure]:
        ours, bare = [], []
        for _ in range(self._rounds):
            ours.append(_child(_FIRST_READ))
            bare.append(_child(_FIRST_BARE))
        if min(ours) < 0:
            raise BenchError("A first read had no value.")
        self._note(FIRST, bare=statistics.median(bare))
        return [make_figure(FIRST, ours)]

    def _reads(self) -> list[Figure]:
        interface_to_get_data.get_sensor_data(0, APP)
        p50, p99 = [], []
        for number in range(self._rounds):
            self._write(number)
            times = timed_us(lambda: interface_to_get_data.get_sensor_data(0, APP), _READS)
            p50.append(share(times, 0.5))
            p99.append(share(times, 0.99))
        return [make_figure(READ_P50, p50), make_figure(READ_P99, p99)]

    def _freshness(self) -> list[Figure]:
        consumer = _bare_consumer(self._rig.bootstrap, "bench-0")
        consumer.seek_to_end()
        consumer.position(TopicPartition("bench-0", 0))
        ours, bare = [], []
        for _ in range(self._rounds):
            ours.append(share([self._until_visible() for _ in range(_SAMPLES)], 0.99))
            consumer.seek_to_end()
            consumer.position(TopicPartition("bench-0", 0))
            bare.append(share([self._until_polled(consumer) for _ in range(_SAMPLES)], 0.99))
        consumer.close()
        self._note(FRESH, bare=statistics.median(bare))
        return [make_figure(FRESH, ours)]

    def _until_visible(self) -> float:
        """From the append, by the broker's clock, which is this machine's, to the first read that has it."""
        sent = self._write(time.time())
        deadline_s = time.monotonic() + _WITHIN_S
        while sensors.read(0, app=APP).offset < sent.offset:
            if time.monotonic() > deadline_s:
                raise BenchError("A value did not become visible.")
            time.sleep(0.0005)
        return max(0.0, time.time() * 1000 - float(sent.timestamp))

    def _until_polled(self, consumer: Any) -> float:
        sent = self._write(time.time())
        while not any(
            records[-1].offset >= sent.offset for records in consumer.poll(timeout_ms=1_000).values()
        ):
            pass
        return max(0.0, time.time() * 1000 - float(sent.timestamp))

    def _stream(self) -> list[Figure]:
        ratios, rates = [], []
        for _ in range(self._rounds):
            bare_s = _took_s(lambda: _drain_bare(self._rig.bootstrap))
            ours_s = _took_s(_drain_stream)
            ratios.append(bare_s / ours_s)
            rates.append(RECORDS / ours_s)
        self._note(STREAM, records_per_s=statistics.median(rates))
        return [make_figure(STREAM, ratios)]

    def _held(self) -> list[Figure]:
        """How long a beat and a notification hold their caller, at a pace that Kafka keeps up with."""
        heart = HeartBeat(
            "service-bench", bootstrap=self._rig.bootstrap, prefix=self._rig.prefix
        ).start_manual()
        beats, says, sends = [], [], []
        for number in range(self._rounds):
            beats.append(share(timed_us(heart.beat, _CALLS, pause_s=0.001), 0.99))
            say = counting(number, lambda text: notifications.send(text, key=text, app=APP))
            says.append(share(timed_us(say, _CALLS, pause_s=0.001), 0.99))
            send = counting(number, lambda text: self._producer.send("bench-1", text.encode()))
            sends.append(share(timed_us(send, _CALLS, pause_s=0.001), 0.99))
        heart.stop()
        notifications.flush(_WITHIN_S)
        noise = share(timed_us(arithmetic, _CALLS, pause_s=0.001), 0.99)
        for target in (BEAT, NOTIFY):
            self._note(target, bare_producer_send=statistics.median(sends), arithmetic_p99=noise)
        return [make_figure(BEAT, beats), make_figure(NOTIFY, says)]

    def _away(self) -> list[Figure]:
        """In an app of its own: this process has clients of the bench besides, which also miss the broker."""
        words = [sys.executable, "-m", "bench.outage", APP, self._rig.bootstrap, self._rig.prefix]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as app:
            assert app.stdin is not None
            assert app.stdout is not None
            if app.stdout.readline() != "ready\n":
                raise BenchError("The app that is to miss the broker did not come up.")
            assert self._rig.broker is not None
            self._rig.broker.kill()
            app.stdin.write("away\n")
            app.stdin.flush()
            said = json.loads(app.stdout.readline() or "{}")
        if said.get("quality") != "stale":
            raise BenchError(f"While the broker was away a read was {said.get('quality')}, not stale.")
        taken_us: dict[str, list[float]] = said["taken_us"]
        noise_us = taken_us.pop("arithmetic")
        parts = {f"{name}_p99": share(times, 0.99) for name, times in taken_us.items()}
        worst = {name: max(times) for name, times in taken_us.items()}
        self._note(AWAY, arithmetic_max=max(noise_us), **parts, **worst)
        return [make_figure(AWAY, list(worst.values()))]

    def _note(self, target: Target, **parts: float) -> None:
        self.detail[target.name] = {name: round(value, 2) for name, value in parts.items()}


def _took_s(work: Callable[[], None]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _bare_consumer(bootstrap: str, topic: str) -> Any:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, api_version=(2, 6), enable_auto_commit=False)
    consumer.assign([TopicPartition(topic, 0)])
    return consumer


def _drain_bare(bootstrap: str) -> None:
    """kafka-python's loop, with the same decoding."""
    consumer = _bare_consumer(bootstrap, "bench-1")
    consumer.seek_to_beginning()
    for count, record in enumerate(consumer, 1):
        decode_value(record.value)
        if count == RECORDS:
            break
    consumer.close()


def _drain_stream() -> None:
    with sensors.stream(1, RECORDS, since=86_400.0, app=APP) as points:
        for _ in points:
            pass


def _child(code: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return float(done.stdout)


@contextmanager
def _environment(rig: Rig) -> Iterator[None]:
    os.environ.update(KAFKA_BOOTSTRAP_SERVERS=rig.bootstrap, WATCHKEEP_PREFIX=rig.prefix)
    for name in ("WATCHKEEP_APP_ID", "WATCHKEEP_GENERATION", "WATCHKEEP_AGENT"):
        os.environ.pop(name, None)
    yield


def measure(*, rounds: int, say: Callable[[str], None]) -> Result:
    """Start a platform, run everything and make the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="watchkeep-bench-") as folder,
        Rig(Path(folder), log_level="warning") as rig,
    ):
        machine = read_machine(kafka="own broker")
        rig.start(workers=1, nodes=1)
        with _environment(rig):
            bench = Bench(rig, rounds, say)
            try:
                figures = bench.run()
            finally:
                bench.close()
        return Result("sdk", machine, figures, detail=bench.detail)


@click.command()
@click.option(
    "--rounds", default=5, show_default=True, type=click.IntRange(1, 100), help="Rounds of each figure."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def main(rounds: int, *, as_json: bool) -> None:
    r"""Measure what the SDK costs an application, against bare clients.

    \b
    Examples:
      python -m bench.sdk
      python -m bench.sdk --rounds 3 --json
    """
    logging.disable(logging.WARNING)
    console = Console(stderr=True, quiet=as_json)
    try:
        result = measure(rounds=rounds, say=lambda part: console.print(f"measuring: {part}"))
    except (BenchError, OSError, subprocess.SubprocessError, TimeoutError) as error:
        sys.stderr.write(f"bench.sdk: {error}\n")
        sys.exit(COULD_NOT)
    sys.exit(print_result(result, as_json=as_json))


if __name__ == "__main__":
    main()
