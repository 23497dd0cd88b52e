"""Which worker watches which heartbeat partitions, where not every one watches all of them. Pure.

Rendezvous hashing. Rules:
1. Each partition is watched by `copies` of the live workers, by all of them if there are fewer.
2. It goes by nothing but the partition and the workers' names: whoever knows the same names says the same.
3. A worker that dies moves nothing but its own partitions, each to one other; one that comes takes over no more than
   its own share.
"""

from collections.abc import Collection
from hashlib import blake2b
from typing import Final

from sdk.contract.topics import WIDE_PARTITIONS

#: Fewer than two, and a worker that dies leaves partitions that nobody watches until somebody has noticed.
COPIES_MIN: Final = 2


def watchers_of(partition: int, workers: Collection[str], *, copies: int = COPIES_MIN) -> list[str]:
    """Who watches a partition, the first in line first; nobody if there is no worker.

    Raises:
        ValueError: Fewer copies than `COPIES_MIN`.
    """
    if copies < COPIES_MIN:
        raise ValueError(f"copies is {copies}: each partition is watched by at least {COPIES_MIN} workers.")
    ranked = sorted(set(workers), key=lambda worker: (_weight(partition, worker), worker), reverse=True)
    return ranked[:copies]


def partitions_of(
    worker: str,
    workers: Collection[str],
    *,
    copies: int = COPIES_MIN,
    partitions: int = WIDE_PARTITIONS,
) -> list[int]:
    """What a worker watches, ascending; nothing if it is not one of the live.

    Raises:
        ValueError: Fewer copies than `COPIES_MIN`.
    """
    return [
        partition
        for partition in range(partitions)
        if worker in watchers_of(partition, workers, copies=copies)
    ]


def _weight(partition: int, worker: str) -> bytes:
    return blake2b(f"{partition}\0{worker}".encode(), digest_size=8).digest()
