"""Asks Kafka whether it is ready, in the few bytes of the protocol that takes. Part of the shell; stdlib only.

A port is open before the broker can do anything, and a client library costs 200 ms and 15 MiB to import.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

_METADATA: Final = 3
#: Understood by every broker from 0.11 to 4.x.
_METADATA_VERSION: Final = 4
_CORRELATION: Final = 1
_ANSWER_BYTES_MAX: Final = 1 << 20


class KafkaAnswer(NamedTuple):
    """What a broker said about its cluster."""

    cluster_id: str
    #: Brokers that take part; a broker that has just started is not among them until it may work.
    brokers: int


def probe_kafka(host: str, port: int, *, timeout_s: float = 1.0) -> KafkaAnswer | None:
    """Return what the broker at that address says, None if nothing useful answers in time."""
    client = b"watchkeep-probe"
    # No topics asked for, no topic to be created.
    body = struct.pack(">i?", 0, False)
    header = struct.pack(">hhih", _METADATA, _METADATA_VERSION, _CORRELATION, len(client)) + client
    request = header + body
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", _read_exactly(connection, 4))
            if not 0 < size <= _ANSWER_BYTES_MAX:
                return None
            return _parse(_read_exactly(connection, size))
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def probe_any(bootstrap: str, *, timeout_s: float = 1.0) -> KafkaAnswer | None:
    """Return the first useful answer of `host:port[,host:port]`."""
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        if host and port.isdigit():
            answer = probe_kafka(host.strip("[]"), int(port), timeout_s=timeout_s)
            if answer:
                return answer
    return None


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the broker closed the connection")
        data += piece
    return bytes(data)


def _parse(answer: bytes) -> KafkaAnswer | None:
    """Return the answer in an (v4) metadata response: correlation, throttle, brokers, cluster id, ..."""
    correlation, _throttle, brokers = struct.unpack_from(">iii", answer)
    if correlation != _CORRELATION or brokers < 1:
        return None
    at = 12
    for _ in range(brokers):
        at += 4  # node id
        _, at = _read_string(answer, at)  # host
        at += 4  # port
        _, at = _read_string(answer, at)  # rack
    cluster_id, _ = _read_string(answer, at)
    return KafkaAnswer(cluster_id or "", brokers)


def _read_string(data: bytes, at: int) -> tuple[str | None, int]:
    (length,) = struct.unpack_from(">h", data, at)
    at += 2
    if length < 0:
        return None, at
    return data[at : at + length].decode(), at + length
